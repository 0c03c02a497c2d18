"""The only FITS reader: from a file to images of the sky, each with its mask, its WCS and values of its header."""

from __future__ import annotations

import gzip
import logging
import mmap
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits as pyfits
from astropy.io.fits.hdu.compressed._compression import CfitsioException
from astropy.wcs import WCS
from numpy.typing import NDArray

from hubbleclip.core.errors import SYSTEM_ERRNOS, ImageError
from hubbleclip.fits import instruments as cameras
from hubbleclip.fits.hdus import Layer, image_shape, science_layers
from hubbleclip.fits.header_guard import BLOCK_BYTES, check_compression, check_start, load_all
from hubbleclip.fits.instruments import Look
from hubbleclip.fits.pointing import aims_of
from hubbleclip.images import masks
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.wcs import read_wcs
from hubbleclip.missions import Camera

log = logging.getLogger(__name__)

COPY_BYTES = 1 << 20
MAX_UNPACKED_RATIO, ALWAYS_UNPACKED_BYTES = 100, 32 << 20
"""Limits on a gzip file: an image compresses to a tenth or more, so a hundredfold expansion is a decompression bomb."""
MAX_BYTES_PER_PIXEL = 16
"""Limit on an unpacked file per pixel of `max_pixels`; science, error and quality arrays take 10 bytes."""
BLOCK_ROWS = 64
CHIP = re.compile(r"\[sci,\d+\]$|_sci\d+(?=\.fits$)", re.IGNORECASE)
"""The part of a drizzled input's name that is the chip, not the exposure."""
DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError, OverflowError),
    *(zlib.error, pyfits.VerifyError, CfitsioException),
)
"""What astropy and zlib raise on damaged files; anything else is a bug of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceImage:
    """An image of the sky in (y, x) order, with its mask, its WCS and values of its header.

    Attributes
    ----------
    data_yx : float32 (h, w)
        In `unit`; undefined where not valid. May be mapped from the file, in the file's byte order.
    valid_yx : bool (h, w)
        Saturated pixels are valid: they are bright.
    wcs : WCS or None
    chip : int
        Index of the FITS extension, plus 1000 per plane in WFPC2's cubes.
    unit, instrument, filter, target : str or None
    exposure_s : float or None
    may_have_cosmic_rays : bool
        A single CCD exposure, or one whose header does not say that several were combined.
    stretch : Stretch or None
        Set where the image consists of display levels already; else one is fitted.
    aims_deg : tuple of (ra, dec)
        Where the telescope was aimed, by target and aperture, the most exact first.
    gain : float or None
        Electrons per count.
    shrink : float
        Pixels of the file per side of a pixel.
    pages : mmap or None
        The file's pages that hold `data_yx`, where it is mapped.
    """

    data_yx: NDArray[np.float32]
    valid_yx: NDArray[np.bool_]
    wcs: WCS | None
    chip: int
    unit: str | None
    instrument: str | None
    filter: str | None
    target: str | None
    exposure_s: float | None
    may_have_cosmic_rays: bool = False
    stretch: Stretch | None = None
    aims_deg: tuple[tuple[float, float], ...] = ()
    gain: float | None = None
    shrink: float = 1.0
    pages: mmap.mmap | None = None

    def release_pages(self, num_rows: int | None = None) -> None:
        """Release the memory of mapped pixels; they are read from the file again when they are next used.

        Parameters
        ----------
        num_rows : int or None
            How many rows from the first to release; all without it.
        """
        if self.pages is not None:
            rows_yx = self.data_yx[:num_rows]
            self.pages.madvise(mmap.MADV_DONTNEED, 0, rows_yx.nbytes // mmap.PAGESIZE * mmap.PAGESIZE)


def read_science_images(path: Path, max_pixels: int, file_name: str | None = None) -> list[ScienceImage]:
    """Read every image of the sky in a FITS file at once.

    Parameters
    ----------
    path, max_pixels, file_name
        As for `iter_science_images`.

    Returns
    -------
    images : list of ScienceImage
        In file order.
    """
    return list(iter_science_images(path, max_pixels, file_name))


def iter_science_images(path: Path, max_pixels: int, file_name: str | None = None) -> Iterator[ScienceImage]:
    """Read the images of the sky in a FITS file, plain or gzipped, one after the other.

    Parameters
    ----------
    path : Path
    max_pixels : int
        Limit on the size of an image; checked before memory is allocated.
    file_name : str or None
        The archive's name of a file that is stored under another; it distinguishes weight maps from exposures.

    Yields
    ------
    image : ScienceImage
        In file order.

    Raises
    ------
    ImageError
        `empty`, `unreadable`, `truncated`, `no_image`, `not_an_image`, `calibration` or `too_large`.
    """
    name = (file_name or path.name).lower().removesuffix(".gz")
    stem = name.rsplit(".", 1)[0]
    with _open_plain(path, max_pixels * MAX_BYTES_PER_PIXEL) as file, _open_hdus(file) as hdus:
        with _as_image_errors():
            layers = _find_layers(hdus, stem, max_pixels)
        for layer in layers:
            with _as_image_errors():
                image = _read_image(hdus, layer, file)
            yield image
            del image  # or it stays in memory while the next is read


@contextmanager
def _as_image_errors() -> Iterator[None]:
    """Convert what damaged files raise to ImageError, and suppress the warnings of the libraries."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MemoryError as error:
        raise ImageError("too_large", "the image does not fit into memory") from error
    except DAMAGE as error:
        raise _unreadable(error) from error


@contextmanager
def _open_hdus(file: IO[bytes]) -> Iterator[pyfits.HDUList]:
    """The HDUs of a file, pixels unscaled and mapped. Raises ImageError."""
    check_start(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hdus = pyfits.open(file, memmap=True, do_not_scale_image_data=True, lazy_load_hdus=True)
            load_all(hdus, file)
    except (*DAMAGE, AttributeError) as error:  # astropy's fallback class for a bad header lacks attributes
        raise _unreadable(error) from error
    with hdus:
        yield hdus


@contextmanager
def _open_plain(path: Path, max_bytes: int) -> Iterator[IO[bytes]]:
    """The file, or if it is gzipped an unnamed temporary copy, unpacked so that it can be mapped into memory."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(error) from error
    with file, ExitStack() as stack:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain: IO[bytes] = file
        if is_gzip:
            plain = stack.enter_context(tempfile.TemporaryFile())
            limit = max(ALWAYS_UNPACKED_BYTES, MAX_UNPACKED_RATIO * path.stat().st_size)
            _unpack(file, plain, min(max_bytes, limit))
        # Reopened read-only, so that astropy maps it read-only.
        with open(plain.fileno(), "rb", closefd=False) as readable:
            readable.seek(0)
            yield readable


def _unpack(source: IO[bytes], target: IO[bytes], max_bytes: int) -> None:
    """Decompress a gzip file, at most `max_bytes`. Raises ImageError."""
    with gzip.GzipFile(fileobj=source) as stream:
        while chunk := _read_chunk(stream):
            target.write(chunk)
            if target.tell() > max_bytes:
                raise ImageError("too_large", f"unpacks to more than {max_bytes} bytes")
    target.flush()
    target.seek(0)


def _read_chunk(stream: gzip.GzipFile) -> bytes:
    """The next bytes of a gzip stream. Raises ImageError."""
    try:
        return stream.read(COPY_BYTES)
    except EOFError as error:
        raise ImageError("truncated", "the gzip stream ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _unreadable(error) from error


def _unreadable(error: BaseException) -> ImageError:
    """The error as ImageError; raises it unchanged where the machine is at fault (disk, descriptors), not the file."""
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRNOS:
        raise error
    return ImageError("unreadable", _one_line(error))


def _one_line(error: BaseException) -> str:
    """Type and message of an error, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _find_layers(hdus: pyfits.HDUList, stem: str, max_pixels: int) -> list[Layer]:
    """The science images of a file, each with its quality and weight extensions, all checked. Raises ImageError."""
    camera = cameras.camera_of(cameras.instrument_name(_looker(hdus[0].header, hdus[0].header)))
    try:
        layers = science_layers(hdus, stem, camera)
    except ImageError as error:
        if error.reason == "no_image" and any(_is_cut_short(hdus, index) for index in range(len(hdus))):
            raise ImageError("truncated", "the file is shorter than its headers say") from error
        raise
    for layer in layers:
        _check_layer(hdus, layer, max_pixels)
    return layers


def _looker(header: pyfits.Header, primary: pyfits.Header) -> Look:
    """A function from a keyword to its value in either header, the first that is not blank, or None."""

    def look(key: str) -> Any:
        values = (source[key] for source in (header, primary) if key in source)
        stripped = (value.strip() if isinstance(value, str) else value for value in values)
        return next((v for v in stripped if v != "" and not isinstance(v, pyfits.card.Undefined)), None)

    return look


def _check_layer(hdus: pyfits.HDUList, layer: Layer, max_pixels: int) -> None:
    """Raise ImageError by the headers of a layer: not the sky, too many pixels, or more bytes than the file has."""
    hdu = hdus[layer.extension]
    problem = cameras.not_sky_reason(_looker(hdu.header, hdus[0].header))
    if problem:
        raise ImageError(*problem)
    num_pixels = int(np.prod([int(side) for side in image_shape(hdu)], dtype=object))
    if num_pixels > max_pixels:
        raise ImageError("too_large", f"the header claims {num_pixels} pixels, more than {max_pixels}")
    for index in (layer.extension, layer.quality, layer.weight):
        if index is None:
            continue
        if _is_cut_short(hdus, index):
            raise ImageError("truncated", f"the file ends within the pixels of extension {index}")
        if isinstance(hdus[index], pyfits.CompImageHDU):
            check_compression(hdus[index])


def _is_cut_short(hdus: pyfits.HDUList, index: int) -> bool:
    """Whether the file ends before the data of an extension does."""
    if not hasattr(hdus[index], "fileinfo"):  # astropy's fallback class for a header that it cannot parse
        return False
    info = hdus[index].fileinfo()
    is_compressed = isinstance(hdus[index], pyfits.CompImageHDU)
    # `datSpan` includes the padding to a whole FITS block, which some writers omit at the end of the file.
    needed = info["datSpan"] - BLOCK_BYTES + 1 if is_compressed else hdus[index].size
    file = info["file"]
    position = file.tell()
    file.seek(0, 2)
    size = file.tell()
    file.seek(position)
    return bool(info["datLoc"] + max(needed, 0) > size)


def _read_image(hdus: pyfits.HDUList, layer: Layer, file: IO[bytes]) -> ScienceImage:
    """Read one image and build its mask."""
    header = hdus[layer.extension].header
    look = _looker(header, hdus[0].header)
    instrument = cameras.instrument_name(look)
    camera = cameras.camera_of(instrument)
    pages, data_yx = _stored_pixels(hdus[layer.extension], layer, file)
    valid_yx, zeros_yx = _find_valid(hdus[layer.extension], layer, file, data_yx)
    _mask(hdus, layer, camera, file, valid_yx)
    for blind in cameras.blind_parts(look, camera, valid_yx.shape):
        valid_yx[blind] = False
    if not camera.counts_photons:  # there a zero is a measurement
        masks.mask_zero_border(data_yx, valid_yx, zeros_yx)
    target = look(cameras.mission_of(look).header.target_keywords[0])
    return ScienceImage(
        data_yx=data_yx,
        valid_yx=valid_yx,
        wcs=read_wcs(hdus, layer.extension, layer.plane or 0),
        chip=layer.chip,
        unit=look("BUNIT") if isinstance(look("BUNIT"), str) else None,
        instrument=instrument,
        filter=cameras.filter_name(look, camera),
        target=str(target) if target is not None else None,
        exposure_s=cameras.exposure_of(look),
        may_have_cosmic_rays=not (_is_combined(look) or camera.counts_photons or camera.reads_ramps),
        aims_deg=aims_of(look),
        gain=cameras.gain_of(look, camera),
        pages=pages,
    )


def _is_combined(look: Look) -> bool:
    """Whether the header says that cosmic rays were rejected by comparing exposures.

    CRSPLIT is no evidence: it is the planned number of exposures, and each of them has it. NDRIZIM counts drizzled
    chips, of which an exposure may have two, so the names of the first and the last input are compared.
    """
    num_drizzled, num_combined = look("NDRIZIM"), look("NCOMBINE")
    if look("CRCORR") == "COMPLETE" or (isinstance(num_combined, int) and num_combined > 1):
        return True
    if not isinstance(num_drizzled, int) or num_drizzled < 2:
        return False
    first, last = (str(look(f"D{number:03d}DATA") or "") for number in (1, num_drizzled))
    return not first or CHIP.sub("", first) != CHIP.sub("", last)


def _stored_pixels(hdu: Any, layer: Layer, file: IO[bytes]) -> tuple[mmap.mmap | None, NDArray[np.float32]]:
    """Pixels scaled by BSCALE and BZERO, as float32, and the pages that hold them where they are mapped.

    Plain float32 pixels are mapped from the file without a copy; others are converted, some rows at a time.
    """
    scale, zero = (float(hdu.header.get(key, default)) for key, default in (("BSCALE", 1), ("BZERO", 0)))
    is_float32 = hdu.header["BITPIX"] == -32 and (scale, zero) == (1, 0)
    if is_float32 and isinstance(hdu, pyfits.CompImageHDU):
        return None, _plane(hdu, layer)
    return _map_pixels(hdu, layer, file) if is_float32 else (None, _scaled(hdu, layer, file, scale, zero))


def _map_pixels(hdu: Any, layer: Layer, file: IO[bytes]) -> tuple[mmap.mmap, NDArray[Any]]:
    """Map the stored values of an extension from the file; returns the pages and the values.

    The file must not shrink meanwhile, or the system ends the process (SIGBUS): products are only replaced by a rename.
    """
    height, width = hdu.shape[-2:]
    dtype = np.dtype(pyfits.hdu.image.BITPIX2DTYPE[hdu.header["BITPIX"]]).newbyteorder(">")
    num_bytes = height * width * dtype.itemsize
    start = hdu.fileinfo()["datLoc"] + (layer.plane or 0) * num_bytes
    in_page = start % mmap.ALLOCATIONGRANULARITY  # a mapping must begin at a page of the system
    pages = mmap.mmap(file.fileno(), in_page + num_bytes, access=mmap.ACCESS_READ, offset=start - in_page)
    return pages, np.frombuffer(pages, dtype, offset=in_page).reshape(height, width)


def _find_valid(
    hdu: Any, layer: Layer, file: IO[bytes], data_yx: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """The mask of pixels that are finite and not BLANK, and the zeros per row; see `masks.find_finite`."""
    valid_yx, zeros_yx = masks.find_finite(data_yx)
    if "BLANK" in hdu.header and hdu.header["BITPIX"] > 0:
        for rows, stored in _stored_rows(hdu, layer, file):
            valid_yx[rows] &= stored != hdu.header["BLANK"]
    return valid_yx, zeros_yx


def _scaled(hdu: Any, layer: Layer, file: IO[bytes], scale: float, zero: float) -> NDArray[np.float32]:
    """Stored values times `scale` plus `zero`, computed in float64, as float32."""
    data_yx = np.empty(hdu.shape[-2:], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, stored in _stored_rows(hdu, layer, file):
            data_yx[rows] = stored if (scale, zero) == (1, 0) else stored.astype(np.float64) * scale + zero
    return data_yx


def _plane(hdu: Any, layer: Layer) -> NDArray[Any]:
    """The layer's plane of an extension that astropy decompresses whole. Raises ImageError."""
    try:
        data = hdu.data
    except AssertionError as error:  # astropy asserts on the names of a compressed image's columns
        raise ImageError("unreadable", _one_line(error)) from error
    plane_yx: NDArray[Any] = data.reshape(-1, *data.shape[-2:])[layer.plane or 0]
    return plane_yx


def _stored_rows(hdu: Any, layer: Layer, file: IO[bytes]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Iterate over the stored values of an extension, some rows at a time.

    The memory of previous rows is released, except of a compressed extension, which is decompressed whole.
    """
    height = hdu.shape[-2]
    blocks = [slice(top, min(top + BLOCK_ROWS, height)) for top in range(0, height, BLOCK_ROWS)]
    if isinstance(hdu, pyfits.CompImageHDU):
        plane_yx = _plane(hdu, layer)
        yield from ((rows, plane_yx[rows]) for rows in blocks)
        return
    pages, stored_yx = _map_pixels(hdu, layer, file)
    released_bytes = 0
    for rows in blocks:
        yield rows, stored_yx[rows]
        read_bytes = stored_yx[: rows.stop].nbytes // mmap.PAGESIZE * mmap.PAGESIZE
        pages.madvise(mmap.MADV_DONTNEED, released_bytes, read_bytes - released_bytes)
        released_bytes = read_bytes


def _mask(hdus: pyfits.HDUList, layer: Layer, camera: Camera, file: IO[bytes], valid_yx: NDArray[np.bool_]) -> None:
    """Clear the mask where the weight is 0 or the data quality has a flag that is bad for the camera."""
    if layer.weight is not None:
        for rows, weight in _stored_rows(hdus[layer.weight], layer, file):
            masks.mask_unweighted(weight, valid_yx[rows])
    if layer.quality is not None:
        zero = int(hdus[layer.quality].header.get("BZERO", 0))
        for rows, quality in _stored_rows(hdus[layer.quality], layer, file):
            masks.mask_flagged(quality, zero, camera.bad_mask, valid_yx[rows])
