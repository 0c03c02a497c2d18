"""The content store: free space, checks of the content, the path of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hubbleclip.archives.http.content_store import FetchedFile, check_free_space, store_file
from hubbleclip.core.errors import DiskFullError
from hubbleclip.core.layout import Layout
from tests.bad_server import FITS


def test_too_little_space_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DiskFullError, match=r"GB are free .* 2\.000 GB are to be written .*fetch\.min_free_gb"
    ) as caught:
        check_free_space(Layout(tmp_path / "not" / "there"), 2_000_000_000, 1e9)
    assert "\n" not in str(caught.value)


def test_a_file_is_stored_under_its_hash(tmp_path: Path) -> None:
    part, layout = tmp_path / "x", Layout(tmp_path / "root")
    part.write_bytes(FITS)
    sha256 = hashlib.sha256(FITS).hexdigest()
    path = layout.product(sha256, "A_DRZ.FITS")
    file = store_file(part, "A_DRZ.FITS", layout, etag="v1")
    assert file == FetchedFile(path=path, sha256=sha256, size_bytes=len(FITS), etag="v1")
    assert path.read_bytes() == FITS
    assert not part.exists()
