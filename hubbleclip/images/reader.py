"""The only FITS reader: from a file to images of the sky, each with its mask, its WCS and its header's facts."""

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
"""A gzip file of an image is a tenth of it or more; one that holds a hundred times its size holds nothing, or harm."""
BYTES_A_PIXEL = 16
ROWS_A_STEP = 64
CHIP = re.compile(r"\[sci,\d+\]$|_sci\d+(?=\.fits$)", re.IGNORECASE)
"""What tells a chip in the name of what was drizzled."""
DAMAGE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError, OverflowError),
    *(zlib.error, pyfits.VerifyError, CfitsioException),
)
"""What astropy and zlib raise on damaged files; anything else is our own mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceImage:
    """Pixels of the sky in (y, x) order. `data_yx` is float32 in `unit`; where `valid_yx` is False it means nothing.
    It may lie in the file, mapped into memory in the file's byte order: `kernels` read it at speed as it is.

    `may_hold_rays` says that it is one CCD exposure, or that its header does not say that several were combined. `chip`
    is the FITS extension (plus 1000 a plane in WFPC2's cubes). Saturated pixels are valid: they are bright. `stretch`
    is set where the image was made for the eye already; else the tiles fit one. `aims_deg` are where it was aimed at,
    `gain` the electrons a count; `shrunk` says that one of its pixels stands for so many a side in the file. `pages`
    are those of the file under `data_yx`, where it lies there.
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
    may_hold_rays: bool = False
    stretch: Stretch | None = None
    aims_deg: tuple[tuple[float, float], ...] = ()
    gain: float | None = None
    shrunk: float = 1.0
    pages: mmap.mmap | None = None

    def let_go(self, num_rows: int | None = None) -> None:
        """Let the system take back the memory of pages of the file, all or those under the first rows: they come again
        when they are looked at, which takes its time.
        """
        if self.pages is not None:
            rows_yx = self.data_yx[:num_rows]
            self.pages.madvise(mmap.MADV_DONTNEED, 0, rows_yx.nbytes // mmap.PAGESIZE * mmap.PAGESIZE)


def read_science_images(path: Path, max_pixels: int, file_name: str | None = None) -> list[ScienceImage]:
    """All of `science_images`."""
    return list(science_images(path, max_pixels, file_name))


def science_images(path: Path, max_pixels: int, file_name: str | None = None) -> Iterator[ScienceImage]:
    """Every image of the sky in a FITS file, plain or gzipped, in file order, read when it is asked for.

    `max_pixels` bounds each image before memory is taken. `file_name` is the archive's name for a file that is kept
    under another one; weight maps and exposures are told by it. Raises ImageError with reason `empty`, `unreadable`,
    `truncated`, `no_image`, `not_an_image`, `calibration` or `too_large`.
    """
    name = (file_name or path.name).lower().removesuffix(".gz")
    stem = name.rsplit(".", 1)[0]
    with _open_plain(path, max_pixels * BYTES_A_PIXEL) as file, _open_hdus(file) as hdus:
        with _refusing():
            layers = _find_layers(hdus, stem, max_pixels)
        for layer in layers:
            with _refusing():
                image = _read_image(hdus, layer, file)
            yield image
            del image  # lest it stay in memory beside the next


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what damaged files raise into ImageError, and silence what libraries say of them."""
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
    check_start(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hdus = pyfits.open(file, memmap=True, do_not_scale_image_data=True, lazy_load_hdus=True)
            load_all(hdus, file)
    except (*DAMAGE, AttributeError) as error:  # its headers without a class lack what it asks of them
        raise _unreadable(error) from error
    with hdus:
        yield hdus


@contextmanager
def _open_plain(path: Path, max_bytes: int) -> Iterator[IO[bytes]]:
    """The file, unpacked into an unnamed temporary one if it is gzipped, so that it can be mapped into memory."""
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
            most = max(ALWAYS_UNPACKED_BYTES, MAX_UNPACKED_RATIO * path.stat().st_size)
            _unpack(file, plain, min(max_bytes, most))
        with open(plain.fileno(), "rb", closefd=False) as readable:
            readable.seek(0)
            yield readable


def _unpack(source: IO[bytes], target: IO[bytes], max_bytes: int) -> None:
    with gzip.GzipFile(fileobj=source) as stream:
        while chunk := _read_chunk(stream):
            target.write(chunk)
            if target.tell() > max_bytes:
                raise ImageError("too_large", f"unpacks to more than {max_bytes} bytes")
    target.flush()
    target.seek(0)


def _read_chunk(stream: gzip.GzipFile) -> bytes:
    try:
        return stream.read(COPY_BYTES)
    except EOFError as error:
        raise ImageError("truncated", "the gzip stream ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _unreadable(error) from error


def _unreadable(error: BaseException) -> ImageError:
    """What the error says of the file. Raises it anew where it speaks of the machine: the file may be good."""
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRNOS:
        raise error
    return ImageError("unreadable", _one_line(error))


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _find_layers(hdus: pyfits.HDUList, stem: str, max_pixels: int) -> list[Layer]:
    camera = cameras.camera_of(cameras.instrument_name(_looker(hdus[0].header, hdus[0].header)))
    try:
        layers = science_layers(hdus, stem, camera)
    except ImageError as error:
        if error.reason == "no_image" and any(_is_cut_short(hdus, index) for index in range(len(hdus))):
            raise ImageError("truncated", "the file ends before its headers say") from error
        raise
    for layer in layers:
        _check_layer(hdus, layer, max_pixels)
    return layers


def _looker(header: pyfits.Header, primary: pyfits.Header) -> Look:
    def look(key: str) -> Any:
        values = (source[key] for source in (header, primary) if key in source)
        stripped = (value.strip() if isinstance(value, str) else value for value in values)
        return next((v for v in stripped if v != "" and not isinstance(v, pyfits.card.Undefined)), None)

    return look


def _check_layer(hdus: pyfits.HDUList, layer: Layer, max_pixels: int) -> None:
    """Refuse a layer by what its headers say: no sky, too many pixels, or fewer bytes in the file than claimed."""
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
            raise ImageError("truncated", f"the pixels of extension {index} end early")
        if isinstance(hdus[index], pyfits.CompImageHDU):
            check_compression(hdus[index])


def _is_cut_short(hdus: pyfits.HDUList, index: int) -> bool:
    if not hasattr(hdus[index], "fileinfo"):  # astropy could make nothing of its header
        return False
    info = hdus[index].fileinfo()
    is_compressed = isinstance(hdus[index], pyfits.CompImageHDU)
    needed = info["datSpan"] - BLOCK_BYTES + 1 if is_compressed else hdus[index].size
    file = info["file"]
    position = file.tell()
    file.seek(0, 2)
    size = file.tell()
    file.seek(position)
    return bool(info["datLoc"] + max(needed, 0) > size)


def _read_image(hdus: pyfits.HDUList, layer: Layer, file: IO[bytes]) -> ScienceImage:
    header = hdus[layer.extension].header
    look = _looker(header, hdus[0].header)
    instrument = cameras.instrument_name(look)
    camera = cameras.camera_of(instrument)
    pages, data_yx = _stored_pixels(hdus[layer.extension], layer, file)
    valid_yx, zeros_yx = _find_valid(hdus[layer.extension], layer, file, data_yx)
    _mask(hdus, layer, camera, file, valid_yx)
    for blind in cameras.blind_parts(look, camera, valid_yx.shape):
        valid_yx[blind] = False
    if not camera.counts_photons:
        masks.clear_zero_border(data_yx, valid_yx, zeros_yx)
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
        may_hold_rays=not (_is_combined(look) or camera.counts_photons or camera.reads_ramps),
        aims_deg=aims_of(look),
        gain=cameras.gain_of(look, camera),
        pages=pages,
    )


def _is_combined(look: Look) -> bool:
    """Whether the header says that rays were told by comparing exposures. CRSPLIT does not: it is how many were
    planned, and each of them has it. NDRIZIM counts chips, of which an exposure may have two: whether there were more
    exposures, the names of the first and the last that was drizzled tell.
    """
    num_drizzled, num_combined = look("NDRIZIM"), look("NCOMBINE")
    if look("CRCORR") == "COMPLETE" or (isinstance(num_combined, int) and num_combined > 1):
        return True
    if not isinstance(num_drizzled, int) or num_drizzled < 2:
        return False
    first, last = (str(look(f"D{number:03d}DATA") or "") for number in (1, num_drizzled))
    return not first or CHIP.sub("", first) != CHIP.sub("", last)


def _stored_pixels(hdu: Any, layer: Layer, file: IO[bytes]) -> tuple[mmap.mmap | None, NDArray[np.float32]]:
    """Pixels scaled by BSCALE and BZERO. float32 pixels stay where they are, mapped from the file, in pages of their
    own; others are turned to float32, some rows at a time.
    """
    scale, zero = (float(hdu.header.get(key, default)) for key, default in (("BSCALE", 1), ("BZERO", 0)))
    is_float32 = hdu.header["BITPIX"] == -32 and (scale, zero) == (1, 0)
    if is_float32 and isinstance(hdu, pyfits.CompImageHDU):
        return None, _plane(hdu, layer)
    return _map_pixels(hdu, layer, file) if is_float32 else (None, _scaled(hdu, layer, file, scale, zero))


def _map_pixels(hdu: Any, layer: Layer, file: IO[bytes]) -> tuple[mmap.mmap, NDArray[Any]]:
    """The stored values of an extension where they lie in the file, and the pages that hold them. The file must not
    shrink meanwhile, or the system ends the process: products are replaced whole, by a rename.
    """
    height, width = hdu.shape[-2:]
    dtype = np.dtype(pyfits.hdu.image.BITPIX2DTYPE[hdu.header["BITPIX"]]).newbyteorder(">")
    num_bytes = height * width * dtype.itemsize
    start = hdu.fileinfo()["datLoc"] + (layer.plane or 0) * num_bytes
    ahead = start % mmap.ALLOCATIONGRANULARITY
    pages = mmap.mmap(file.fileno(), ahead + num_bytes, access=mmap.ACCESS_READ, offset=start - ahead)
    return pages, np.frombuffer(pages, dtype, offset=ahead).reshape(height, width)


def _find_valid(
    hdu: Any, layer: Layer, file: IO[bytes], data_yx: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Where pixels are finite and not BLANK, and each row's zeros."""
    valid_yx, zeros_yx = masks.find_finite(data_yx)
    if "BLANK" in hdu.header and hdu.header["BITPIX"] > 0:
        for rows, stored in _stored_rows(hdu, layer, file):
            valid_yx[rows] &= stored != hdu.header["BLANK"]
    return valid_yx, zeros_yx


def _scaled(hdu: Any, layer: Layer, file: IO[bytes], scale: float, zero: float) -> NDArray[np.float32]:
    data_yx = np.empty(hdu.shape[-2:], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, stored in _stored_rows(hdu, layer, file):
            data_yx[rows] = stored if (scale, zero) == (1, 0) else stored.astype(np.float64) * scale + zero
    return data_yx


def _plane(hdu: Any, layer: Layer) -> NDArray[Any]:
    try:
        data = hdu.data
    except AssertionError as error:  # astropy asserts on the names of a compressed image's columns
        raise ImageError("unreadable", _one_line(error)) from error
    plane_yx: NDArray[Any] = data.reshape(-1, *data.shape[-2:])[layer.plane or 0]
    return plane_yx


def _stored_rows(hdu: Any, layer: Layer, file: IO[bytes]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """The stored values of an extension, some rows at a time: the system takes back the memory of those before, but for
    a compressed one, which is unpacked whole.
    """
    height = hdu.shape[-2]
    steps = [slice(top, min(top + ROWS_A_STEP, height)) for top in range(0, height, ROWS_A_STEP)]
    if isinstance(hdu, pyfits.CompImageHDU):
        plane_yx = _plane(hdu, layer)
        yield from ((rows, plane_yx[rows]) for rows in steps)
        return
    pages, stored_yx = _map_pixels(hdu, layer, file)
    taken = 0
    for rows in steps:
        yield rows, stored_yx[rows]
        looked_at = stored_yx[: rows.stop].nbytes // mmap.PAGESIZE * mmap.PAGESIZE
        pages.madvise(mmap.MADV_DONTNEED, taken, looked_at - taken)
        taken = looked_at


def _mask(hdus: pyfits.HDUList, layer: Layer, camera: Camera, file: IO[bytes], valid_yx: NDArray[np.bool_]) -> None:
    """Clear `valid_yx` where the weight or the DQ says that nothing was measured."""
    if layer.weight is not None:
        for rows, weight in _stored_rows(hdus[layer.weight], layer, file):
            masks.clear_unweighted(weight, valid_yx[rows])
    if layer.quality is not None:
        zero = int(hdus[layer.quality].header.get("BZERO", 0))
        for rows, quality in _stored_rows(hdus[layer.quality], layer, file):
            masks.clear_flagged(quality, zero, camera.bad_mask, valid_yx[rows])
