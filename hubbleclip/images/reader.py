"""The only reader of FITS images. It returns images of the sky, each with its mask, its WCS and its header values."""

from __future__ import annotations

import gzip
import logging
import math
import mmap
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits as pyfits
from astropy.io.fits.hdu.compressed._compression import CfitsioException
from astropy.wcs import WCS
from numpy.typing import NDArray

from hubbleclip.core.errors import SYSTEM_ERRNOS, ImageError
from hubbleclip.core.io import TooLargeError, chunks
from hubbleclip.fits import instruments as cameras
from hubbleclip.fits.cards import BLOCK_BYTES
from hubbleclip.fits.compressed import band_bytes, check_compression, iter_bands
from hubbleclip.fits.hdus import Layer, UnusedImage, image_shape, science_layers
from hubbleclip.fits.header_guard import check_start, load_all
from hubbleclip.fits.instruments import Look
from hubbleclip.fits.pointing import aims_of
from hubbleclip.images import masks
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.wcs import read_wcs
from hubbleclip.missions import Camera
from hubbleclip.missions.base import CCD, COUNTER, PARALLEL

log = logging.getLogger(__name__)

UNKNOWN_CAMERA = "unknown camera: cosmic rays are not rejected, and the wavelength is unknown"
"""Note on an image whose camera is not registered, for example because the header lacks INSTRUME or DETECTOR."""
MAX_UNPACKED_RATIO, ALWAYS_UNPACKED_BYTES = 100, 32 << 20
"""Limits on the unpacked size of a gzip file: the ratio to its packed size, and a size that is always allowed.

Images compress to a tenth of their size at best, so a file that unpacks to 100 times its size is a decompression bomb.
"""
MAX_BYTES_PER_PIXEL = 16
"""Maximum unpacked size of a file, in bytes per pixel of `max_pixels`.

An image with its error and quality arrays has 10 bytes per pixel.
"""
BLOCK_ROWS = 64
FULL_COUNTS = 65_535
"""Value of a pixel of a raw frame at which the 16-bit A/D converter saturates.

Raw frames have no data quality flags, so only this value shows that a pixel is saturated.
"""
IMAGE_BYTES, BYTES_PER_PIXEL = 1_000_000_000, 5
"""Maximum memory of an image that is not mapped from its file, and memory per pixel: a float32 value and its mask."""
CHIP = re.compile(r"\[sci,\d+\]$|_sci\d+(?=\.fits$)", re.IGNORECASE)
"""Matches the part of a drizzle input's name that gives the chip. The rest of the name gives the exposure."""
DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError, OverflowError),
    *(zlib.error, pyfits.VerifyError, CfitsioException),
)
"""Exceptions that astropy and zlib raise for damaged files. Any other exception is a bug in this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceImage:
    """An image of the sky in (y, x) order, with its mask, its WCS and its header values.

    Attributes
    ----------
    data_yx : float32 (h, w)
        Pixel values in `unit`; undefined where a pixel is not valid. The array may be mapped from the file, and then
        has the file's byte order.
    valid_yx : bool (h, w)
        Mask of the valid pixels. Saturated pixels are valid, because they are bright.
    wcs : WCS or None
        World coordinate system; None if the header has no usable one.
    chip : int
        Index of the FITS extension, plus 1000 times the plane's index in a cube.
    unit, instrument, filter, target : str or None
        Texts from the header; None where the header gives none.
    exposure_s : float or None
        Exposure time in seconds.
    may_have_cosmic_rays : bool
        Whether the image is from a known CCD camera and its header does not show that cosmic rays were rejected.
    star_contrast : float
        Contrast that no star of the camera and filter exceeds; see `Camera.star_contrasts`.
    saturated : int64 (n,)
        Indices of the saturated pixels in the flattened image, for cameras whose images may have cosmic rays.
    is_drizzled : bool
        Whether the image was resampled, so that the noise of neighbouring pixels is correlated.
    stretch : Stretch or None
        Stretch of an image whose pixels are display levels already; None if the stretch must be fitted.
    aims_deg : tuple of (ra, dec)
        Positions in degrees at which the telescope was aimed, the most precise first.
    gain : float or None
        Gain in electrons per count.
    flux_density : float or None
        Flux density f_nu in Jy of a source with a count rate of 1 per second; None if the header has no calibration.
    shrink : float
        Side of a pixel of this image in pixels of the file.
    note : str or None
        What a user of the image must know: `UNKNOWN_CAMERA`, `PARALLEL`, or None.
    pages : mmap or None
        Memory map of the file that contains `data_yx`; None if the pixels are not mapped.
    unused : tuple of UnusedImage
        Images of the file that are not read. Only the first image of a file lists them.
    """

    data_yx: NDArray[np.float32]
    valid_yx: NDArray[np.bool_]
    wcs: WCS | None = None
    chip: int
    unit: str | None = None
    instrument: str | None = None
    filter: str | None = None
    target: str | None = None
    exposure_s: float | None = None
    may_have_cosmic_rays: bool = False
    star_contrast: float = math.inf
    saturated: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    is_drizzled: bool = False
    stretch: Stretch | None = None
    aims_deg: tuple[tuple[float, float], ...] = ()
    gain: float | None = None
    flux_density: float | None = None
    shrink: float = 1.0
    note: str | None = None
    pages: mmap.mmap | None = None
    unused: tuple[UnusedImage, ...] = ()

    def release_pages(self, num_rows: int | None = None) -> None:
        """Free the memory of the first `num_rows` mapped rows (None: all); a later access reads the file again."""
        if self.pages is not None:
            rows_yx = self.data_yx[:num_rows]
            self.pages.madvise(mmap.MADV_DONTNEED, 0, rows_yx.nbytes // mmap.PAGESIZE * mmap.PAGESIZE)


def read_science_images(path: Path, max_pixels: int, file_name: str | None = None) -> list[ScienceImage]:
    """Read all images of the sky in a FITS file into memory."""
    return list(iter_science_images(path, max_pixels, file_name))


def iter_science_images(path: Path, max_pixels: int, file_name: str | None = None) -> Iterator[ScienceImage]:
    """Read the images of the sky in a FITS file one after the other. The file may be gzipped."""
    name = (file_name or path.name).lower().removesuffix(".gz")
    stem = name.rsplit(".", 1)[0]
    with _open_plain(path, max_pixels * MAX_BYTES_PER_PIXEL) as file:
        check_start(file)
        with _as_image_errors(AttributeError):  # astropy's HDU class for damaged headers lacks some attributes
            hdus = pyfits.open(file, memmap=True, do_not_scale_image_data=True, lazy_load_hdus=True)
            load_all(hdus, file)
        with hdus:
            with _as_image_errors():
                layers, unused = _find_layers(hdus, stem, max_pixels, file)
            for layer in layers:
                with _as_image_errors():
                    image = _read_image(hdus, layer, file)
                yield replace(image, unused=unused) if layer is layers[0] else image
                del image  # otherwise the image would stay in memory while the next one is read


@contextmanager
def _as_image_errors(*more: type[Exception]) -> Iterator[None]:
    """Convert exceptions of the classes `DAMAGE` and `more` to ImageError, and suppress warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (*DAMAGE, *more) as error:
        raise unreadable(error) from error


@contextmanager
def _open_plain(path: Path, max_bytes: int) -> Iterator[IO[bytes]]:
    """Yield the open file. A gzip file is unpacked to an unnamed temporary file, which can be mapped into memory."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(error) from error
    with file, ExitStack() as stack:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain: IO[bytes] = file
        if is_gzip:
            plain = stack.enter_context(tempfile.TemporaryFile())
            _unpack(file, plain, path.stat().st_size, max_bytes)
        # The file is opened again read-only, so that astropy also maps it read-only.
        with open(plain.fileno(), "rb", closefd=False) as readable:
            readable.seek(0)
            yield readable


def _unpack(source: IO[bytes], target: IO[bytes], packed_bytes: int, max_bytes: int) -> None:
    """Decompress a gzip file. Raises ImageError where it is damaged or unpacks to too many bytes."""
    limit = max(ALWAYS_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed_bytes)
    advice = f"more than {MAX_UNPACKED_RATIO} times its size, unlike any noisy image: unpack it with gunzip to use it"
    if limit > max_bytes:
        limit, advice = max_bytes, "more than an image of tiles.max_pixels pixels can need: raise this setting"
    try:
        with gzip.GzipFile(fileobj=source) as stream:
            target.writelines(chunks(stream.read, limit))
    except TooLargeError as error:
        raise ImageError("too_large", f"{packed_bytes} bytes of gzip unpack to over {limit}, {advice}") from error
    except EOFError as error:
        raise ImageError("truncated", "the gzip stream ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise unreadable(error) from error
    target.flush()
    target.seek(0)


def unreadable(error: BaseException) -> ImageError:
    """Convert an error to an ImageError of one line; raise an OSError whose number is in `SYSTEM_ERRNOS` unchanged."""
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRNOS:
        raise error
    return ImageError("unreadable", " ".join(f"{type(error).__name__}: {error}".split())[:200])


def _find_layers(
    hdus: pyfits.HDUList, stem: str, max_pixels: int, file: IO[bytes]
) -> tuple[list[Layer], tuple[UnusedImage, ...]]:
    """Find and check the science images of a file; see `science_layers`. Raises ImageError."""
    camera = cameras.camera_of(cameras.instrument_name(_looker(hdus[0].header, hdus[0].header)))
    try:
        layers, unused = science_layers(hdus, stem, camera)
    except ImageError as error:
        if error.reason == "no_image" and any(_is_cut_short(hdus, index) for index in range(len(hdus))):
            raise ImageError("truncated", "the file is shorter than its headers declare") from error
        raise
    for layer in layers:
        _check_layer(hdus, layer, max_pixels, file)
    return layers, unused


def _looker(header: pyfits.Header, primary: pyfits.Header) -> Look:
    """Return a function that looks up a keyword in `header`, then in `primary`, and skips blank values; see `Look`."""

    def look(key: str) -> Any:
        values = (source[key] for source in (header, primary) if key in source)
        stripped = (value.strip() if isinstance(value, str) else value for value in values)
        return next((v for v in stripped if v not in (None, "")), None)  # astropy gives None for a card without value

    return look


def _check_layer(hdus: pyfits.HDUList, layer: Layer, max_pixels: int, file: IO[bytes]) -> None:
    """Check the headers of a layer's extensions.

    Raises ImageError if the image does not show the sky, is too large, is truncated or has a faulty compression.
    """
    hdu = hdus[layer.extension]
    problem = cameras.not_sky_reason(_looker(hdu.header, hdus[0].header))
    if problem:
        raise ImageError(*problem)
    num_pixels = int(np.prod([int(side) for side in image_shape(hdu)], dtype=object))
    if num_pixels > max_pixels:
        raise ImageError("too_large", f"the header declares {num_pixels} pixels, more than {max_pixels}")
    parts = [index for index in (layer.extension, layer.quality, layer.weight) if index is not None]
    for index in parts:
        if _is_cut_short(hdus, index):
            raise ImageError("truncated", f"the file ends within the pixels of extension {index}")
    compressed = [hdus[index] for index in parts if isinstance(hdus[index], pyfits.CompImageHDU)]
    needed = max((band_bytes(part, BLOCK_ROWS) for part in compressed), default=0)
    needed += 0 if _is_mapped(hdu) else BYTES_PER_PIXEL * num_pixels
    if needed > IMAGE_BYTES:
        raise ImageError("too_large", f"the image needs {needed / 1e9:.1f} GB of memory")
    for part in compressed:
        check_compression(part, file)


def _is_cut_short(hdus: pyfits.HDUList, index: int) -> bool:
    """Return whether the file ends before the end of an extension's data."""
    if not hasattr(hdus[index], "fileinfo"):  # astropy's class of HDUs with an invalid header
        return False
    info = hdus[index].fileinfo()
    is_compressed = isinstance(hdus[index], pyfits.CompImageHDU)
    # `datSpan` includes the padding to a whole FITS block, which some writers omit at the end of the file.
    needed = info["datSpan"] - BLOCK_BYTES + 1 if is_compressed else hdus[index].size
    return bool(info["datLoc"] + max(needed, 0) > info["file"].size)


def _read_image(hdus: pyfits.HDUList, layer: Layer, file: IO[bytes]) -> ScienceImage:
    """Read one image, build its mask of valid pixels, and collect its header values."""
    hdu = hdus[layer.extension]
    look = _looker(hdu.header, hdus[0].header)
    instrument = cameras.instrument_name(look)
    camera = cameras.camera_of(instrument)
    pages, data_yx = _map_pixels(hdu, layer, file) if _is_mapped(hdu) else (None, _scaled(hdu, layer, file))
    valid_yx, zero_runs = masks.find_finite(data_yx)
    if "BLANK" in hdu.header and hdu.header["BITPIX"] > 0:
        for rows, stored in _stored_rows(hdu, layer, file):
            valid_yx[rows] &= stored != hdu.header["BLANK"]
    saturated = _mask(hdus, layer, camera, file, valid_yx)
    if hdu.header["BITPIX"] == 16:
        saturated = np.append(saturated, np.flatnonzero(data_yx == FULL_COUNTS))
    for blind in cameras.blind_parts(look, camera, valid_yx.shape):
        valid_yx[blind] = False
    if camera.kind != COUNTER:  # in a photon counter a zero is a measurement
        masks.mask_zero_border(data_yx, valid_yx, zero_runs)
    target = look(cameras.mission_of(look).header.target_keywords[0])
    filter_label = cameras.filter_name(look, camera)
    return ScienceImage(
        data_yx=data_yx,
        valid_yx=valid_yx,
        wcs=read_wcs(hdus, layer.extension, layer.plane or 0),
        chip=layer.chip,
        unit=look("BUNIT") if isinstance(look("BUNIT"), str) else None,
        instrument=instrument,
        filter=filter_label,
        target=str(target) if target is not None else None,
        exposure_s=cameras.exposure_of(look),
        may_have_cosmic_rays=camera.kind == CCD and not _is_combined(look),
        star_contrast=cameras.star_contrast(filter_label, instrument),
        saturated=saturated,
        is_drizzled=layer.weight is not None or bool(look("NDRIZIM")),
        aims_deg=aims_of(look),
        gain=cameras.gain_of(look, camera),
        flux_density=cameras.flux_density_of(look),
        note=PARALLEL if cameras.is_parallel(look) else None if camera.kind else UNKNOWN_CAMERA,
        pages=pages,
    )


def _is_combined(look: Look) -> bool:
    """Return whether the header shows that cosmic rays were rejected by a comparison of several exposures.

    CRSPLIT is not used: it is the planned number of exposures, and the header of every single exposure contains it too.
    NDRIZIM is the number of drizzled chips. Two chips may be from one exposure, so the exposure names of the first and
    the last drizzle input are compared.
    """
    num_drizzled, num_combined = look("NDRIZIM"), look("NCOMBINE")
    if look("CRCORR") == "COMPLETE" or (isinstance(num_combined, int) and num_combined > 1):
        return True
    if not isinstance(num_drizzled, int) or num_drizzled < 2:
        return False
    first, last = (str(look(f"D{number:03d}DATA") or "") for number in (1, num_drizzled))
    return not first or CHIP.sub("", first) != CHIP.sub("", last)


def _scale_of(hdu: Any) -> tuple[float, float]:
    """Return BSCALE and BZERO of an image."""
    scale, zero = (float(hdu.header.get(key, default)) for key, default in (("BSCALE", 1), ("BZERO", 0)))
    return scale, zero


def _is_mapped(hdu: Any) -> bool:
    """Return whether the pixels of an image are mapped from the file, so that they take no memory."""
    return hdu.header["BITPIX"] == -32 and _scale_of(hdu) == (1, 0) and not isinstance(hdu, pyfits.CompImageHDU)


def _map_pixels(hdu: Any, layer: Layer, file: IO[bytes]) -> tuple[mmap.mmap, NDArray[Any]]:
    """Map the stored values of an extension from the file, and return the memory map and the values.

    If a mapped file is shortened, the system kills a process that reads the missing part (SIGBUS). Products are
    therefore replaced by a rename, never overwritten.
    """
    height, width = hdu.shape[-2:]
    dtype = np.dtype(pyfits.hdu.image.BITPIX2DTYPE[hdu.header["BITPIX"]]).newbyteorder(">")
    num_bytes = height * width * dtype.itemsize
    start = hdu.fileinfo()["datLoc"] + (layer.plane or 0) * num_bytes
    in_page = start % mmap.ALLOCATIONGRANULARITY  # a mapping must begin at a page boundary
    pages = mmap.mmap(file.fileno(), in_page + num_bytes, access=mmap.ACCESS_READ, offset=start - in_page)
    return pages, np.frombuffer(pages, dtype, offset=in_page).reshape(height, width)


def _scaled(hdu: Any, layer: Layer, file: IO[bytes]) -> NDArray[np.float32]:
    """Return the stored values times BSCALE plus BZERO, computed in float64 and converted to float32."""
    (scale, zero), data_yx = _scale_of(hdu), np.empty(hdu.shape[-2:], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, stored in _stored_rows(hdu, layer, file):
            data_yx[rows] = stored if (scale, zero) == (1, 0) else stored.astype(np.float64) * scale + zero
    return data_yx


def _stored_rows(hdu: Any, layer: Layer, file: IO[bytes]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the stored values of an extension in blocks of rows, each with the slice of its rows.

    The memory of earlier blocks is released.
    """
    if isinstance(hdu, pyfits.CompImageHDU):
        yield from iter_bands(hdu, layer.plane or 0, BLOCK_ROWS)
        return
    pages, stored_yx = _map_pixels(hdu, layer, file)
    released_bytes = 0
    for top in range(0, len(stored_yx), BLOCK_ROWS):
        rows = slice(top, min(top + BLOCK_ROWS, len(stored_yx)))
        yield rows, stored_yx[rows]
        read_bytes = stored_yx[: rows.stop].nbytes // mmap.PAGESIZE * mmap.PAGESIZE
        pages.madvise(mmap.MADV_DONTNEED, released_bytes, read_bytes - released_bytes)
        released_bytes = read_bytes


def _mask(
    hdus: pyfits.HDUList, layer: Layer, camera: Camera, file: IO[bytes], valid_yx: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Clear the mask where the weight is not positive or the data quality is bad, and find the saturated pixels."""
    saturated = [np.empty(0, np.int64)]
    if layer.weight is not None:
        for rows, weight in _stored_rows(hdus[layer.weight], layer, file):
            masks.mask_unweighted(weight, valid_yx[rows])
    if layer.quality is not None:
        zero = int(hdus[layer.quality].header.get("BZERO", 0))
        for rows, quality in _stored_rows(hdus[layer.quality], layer, file):
            flags_yx = masks.quality_flags(quality, zero)
            valid_yx[rows] &= flags_yx & np.uint16(sum(camera.bad_flags)) == 0
            if camera.saturated_flags:
                found = np.flatnonzero(flags_yx & np.uint16(camera.saturated_flags) != 0)
                saturated.append(found + rows.start * valid_yx.shape[1])
    return np.concatenate(saturated)
