"""Files for a moment: a small one comes in memory alone, checked as one that is kept; another goes by the disk."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stages import product

from hubbleclip.archives.http.download import SMALL_BYTES
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.core.errors import DownloadError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Product
from tests.archives.conftest import archive_at
from tests.bad_server import LARGE_FITS, BadServer, give

JPEG_HEAD = {"Content_Type": "image/jpeg"}


def jpeg(side_px: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(side_px**2, dtype=np.uint8).reshape(side_px, side_px)).save(buffer, "JPEG")
    return buffer.getvalue()


def preview(name: str = "a_drz.jpg", size_bytes: int | None = None) -> Product:
    return product(name, uri=f"mast:HST/product/{name}", file_name=name, size_bytes=size_bytes)


def archive_of(script: BadServer, root: Path) -> MastArchive:
    return archive_at(script.url, root, timeout_s=1, stall_s=1, attempts=2)


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_file_in_memory_is_described_as_one_on_the_disk(scripted, tmp_path: Path) -> None:
    data = jpeg()
    archive = archive_of(scripted(give(data, ETag='"abc"', **JPEG_HEAD)), tmp_path)
    delivery = archive.deliver_product(preview())
    assert (delivery.data, files_in(tmp_path)) == (data, [])
    kept = archive.fetch_product(preview())
    assert replace(kept, path=None, fetched_at=None) == replace(delivery.product, fetched_at=None)
    assert delivery.product.sha256 == sha256_bytes(data)


@pytest.mark.parametrize(
    ("body", "size_bytes"),
    [(jpeg()[:-2], None), (b"<html>no</html>", None), (jpeg(), 10), (b"", None), (jpeg() + b"more", None)],
    ids=["cut", "html", "other-size", "empty", "longer"],
)
def test_a_body_that_is_not_the_file_is_not_delivered(
    scripted, tmp_path: Path, body: bytes, size_bytes: int | None
) -> None:
    with pytest.raises(DownloadError):
        archive_of(scripted(give(body, **JPEG_HEAD)), tmp_path).deliver_product(preview(size_bytes=size_bytes))


def test_a_large_file_is_delivered_on_the_disk(scripted, tmp_path: Path) -> None:
    assert len(LARGE_FITS) > SMALL_BYTES
    archive = archive_of(scripted(give(LARGE_FITS)), tmp_path)
    delivery = archive.deliver_product(preview("a_drz.fits"))
    assert delivery.data is None
    assert archive.layout.absolute(delivery.product.path or "").read_bytes() == LARGE_FITS
