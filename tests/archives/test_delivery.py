"""Files for a moment: a small one comes in memory alone, checked as one that is kept; another goes by the disk."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from stages import product

from hubbleclip.archives.http.download import SMALL_BYTES
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Product
from tests.archives.conftest import archive_at
from tests.bad_server import LARGE_FITS, give


def jpeg(side_px: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(side_px**2, dtype=np.uint8).reshape(side_px, side_px)).save(buffer, "JPEG")
    return buffer.getvalue()


def preview(name: str = "a_drz.jpg") -> Product:
    return product(name, uri=f"mast:HST/product/{name}", file_name=name, size_bytes=None)


def test_a_file_in_memory_is_described_as_one_on_the_disk(scripted, tmp_path: Path) -> None:
    data = jpeg()
    archive = archive_at(scripted(give(data, ETag='"abc"', Content_Type="image/jpeg")).url, tmp_path)
    delivery = archive.deliver_product(preview())
    assert delivery.data == data
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    kept = archive.fetch_product(preview())
    assert replace(kept, path=None, fetched_at=None) == replace(delivery.product, fetched_at=None)
    assert delivery.product.sha256 == sha256_bytes(data)


def test_a_large_file_is_delivered_on_the_disk(scripted, tmp_path: Path) -> None:
    assert len(LARGE_FITS) > SMALL_BYTES
    archive = archive_at(scripted(give(LARGE_FITS)).url, tmp_path)
    delivery = archive.deliver_product(preview("a_drz.fits"))
    assert delivery.data is None
    assert archive.layout.absolute(delivery.product.path or "").read_bytes() == LARGE_FITS
