"""Files of which only the needed extensions are downloaded. All requests are real, also those that break off."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hubbleclip.archives.http.download import FetchedFile
from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import DownloadError
from hubbleclip.fits.sieve import filtered
from hubbleclip.images.tiling import tile_file
from tests.archives import conftest
from tests.bad_server import BadServer, give_range
from tests.images.synthetic_fits import starry_sky, wcs_header

SHAPE = 720, 740  # an extension of float32 has 2.1 MB
IMAGE = starry_sky(SHAPE)
TILES = TileSettings(size_px=256, views=("native", "overview"))


def fits_bytes(*extensions: tuple[str, np.ndarray]) -> bytes:
    """A file of HST with checksums; each extension has a name and pixels."""
    header = fits.Header({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "UVIS", "FILTER": "F606W"})
    header.update(TARGNAME="TEST", EXPTIME=100.0, NDRIZIM=4, FILETYPE="SCI", NEXTEND=len(extensions))
    hdus: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU(header=header)]
    hdus += [
        fits.ImageHDU(
            pixels,
            wcs_header(SHAPE) if name == "SCI" else None,
            name=name,
            ver=sum(earlier == name for earlier, _ in extensions[: place + 1]),
        )
        for place, (name, pixels) in enumerate(extensions)
    ]
    file = io.BytesIO()
    fits.HDUList(hdus).writeto(file, checksum=True)
    return file.getvalue()


WEIGHT = np.where(np.indices(SHAPE)[1] < 40, 0, 1).astype(np.float32)
FLAGS = (np.indices(SHAPE).sum(0) % 97 == 0).astype(np.int16) * 4
CONTEXT = np.ones(SHAPE, np.int32)
give_part = partial(give_range, ETag='"v1"')
DRIZZLED = fits_bytes(("SCI", IMAGE), ("WHT", WEIGHT), ("CTX", CONTEXT))
EXPOSURE = fits_bytes(
    ("SCI", IMAGE), ("ERR", WEIGHT), ("DQ", FLAGS), ("SCI", IMAGE[::-1].copy()), ("ERR", WEIGHT), ("DQ", FLAGS)
)


def fetch(script: BadServer, root: Path, whole: bytes, whole_files: bool = False) -> tuple[FetchedFile, bytes]:
    """The record and the content of the stored file."""
    stored = conftest.fetch(script, root, {"whole_files": whole_files}, size_bytes=len(whole))
    assert stored.path is not None
    return stored, stored.path.read_bytes()


@pytest.mark.parametrize("whole", [DRIZZLED, EXPOSURE], ids=["drizzled", "exposure"])
def test_only_the_needed_extensions_are_stored_and_named_by_their_hash(
    whole: bytes, scripted: Callable[..., BadServer], tmp_path: Path
) -> None:
    stored, content = fetch(scripted(give_part(whole)), tmp_path, whole)
    assert content == filtered(whole)[0]
    assert len(content) < 0.72 * len(whole)
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert stored.size_bytes == len(whole)  # the size at the archive, which the product list gives
    with fits.open(io.BytesIO(whole)) as before, fits.open(io.BytesIO(content)) as after:
        assert [hdu.name for hdu in after] == [hdu.name for hdu in before]
        for old, new in zip(before, after, strict=True):
            assert new.data is None if old.name in {"PRIMARY", "CTX", "ERR"} else np.array_equal(new.data, old.data)


def test_damaged_pixels_of_a_needed_extension_are_refused(scripted: Callable[..., BadServer], tmp_path: Path) -> None:
    damaged = bytearray(DRIZZLED)
    damaged[len(DRIZZLED) // 6] ^= 1
    with pytest.raises(DownloadError, match="DATASUM") as caught:
        fetch(scripted(give_part(bytes(damaged))), tmp_path, DRIZZLED)
    assert caught.value.reason == "checksum"


@pytest.mark.parametrize("whole", [b"<html>" + b"x" * 5_000_000, DRIZZLED[: -2880 * 10]], ids=["page", "cut"])
def test_a_file_whose_parts_cannot_be_told_apart_is_refused_for_the_same_reason_as_a_whole_one(
    whole: bytes, scripted: Callable[..., BadServer], tmp_path: Path
) -> None:
    reasons = []
    for name, whole_files in (("parts", False), ("whole", True)):
        with pytest.raises(DownloadError) as caught:
            fetch(scripted(give_part(whole)), tmp_path / name, whole, whole_files)
        reasons.append(caught.value.reason)
    assert reasons[0] == reasons[1]


@pytest.mark.slow
@pytest.mark.parametrize("whole", [DRIZZLED, EXPOSURE], ids=["drizzled", "exposure"])
def test_tiles_of_a_partial_file_are_equal_to_those_of_the_whole_file(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "whole.fits").write_bytes(whole)
    (tmp_path / "needed.fits").write_bytes(filtered(whole)[0])
    first, second = (tile_file(tmp_path / name, "0" * 64, TILES) for name in ("whole.fits", "needed.fits"))
    assert len(first.tiles) > 4
    assert [tile.encoded for tile in first.tiles] == [tile.encoded for tile in second.tiles]
    assert [(tile.chip, tile.geometry) for tile in first.tiles] == [(tile.chip, tile.geometry) for tile in second.tiles]


def test_bytes_that_are_skipped_are_not_sent(scripted: Callable[..., BadServer], tmp_path: Path) -> None:
    shape = 720, 7400  # the context is 21 MB, more than the buffers of a connection hold
    whole = fits_bytes(("SCI", IMAGE), ("WHT", WEIGHT), ("CTX", np.ones(shape, np.int32)))
    sent: list[int] = []
    fetch(scripted(give_part(whole, sent)), tmp_path, whole)
    assert sum(sent) < 0.75 * len(whole)
