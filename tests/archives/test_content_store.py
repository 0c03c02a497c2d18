"""The content store: free space, checks of the content, the path of a file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from hubbleclip.archives.http.content_store import FetchedFile, check_free_space, store_file
from hubbleclip.core.errors import DiskFullError
from hubbleclip.core.layout import Layout
from tests.bad_server import FITS, LARGE_FITS, fits_file, give

CHILD = """
import resource, sys
from pathlib import Path
from hubbleclip.archives.http.download import DownloadRequest, fetch_file
from hubbleclip.archives.http.client import Transport
from hubbleclip.core.errors import DiskFullError
from hubbleclip.core.layout import Layout
from hubbleclip.config.settings import FetchSettings
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
layout = Layout(Path(sys.argv[2]))
try:
    request = DownloadRequest(uri="mast:x", file_name="a.fits", size_bytes=None, layout=layout)
    fetch_file(Transport(FetchSettings()), sys.argv[1], request)
except DiskFullError as error:
    print(error)
"""


def test_too_little_space_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DiskFullError, match=r"GB are free .* 2\.000 GB are to be written .*fetch\.min_free_gb"
    ) as caught:
        check_free_space(Layout(tmp_path / "not" / "there"), 2_000_000_000, 1e9)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("body", "kept"), [(fits_file(50), []), (LARGE_FITS, [100_000])], ids=["small", "large"])
def test_a_full_disk_ends_the_run_and_keeps_the_bytes_that_arrived(
    scripted, tmp_path: Path, body: bytes, kept: list[int]
) -> None:
    script = scripted(give(body, ETag='"v1"'))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, script.url, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "cannot be written (File too large): make room" in done.stdout, done.stderr
    assert done.returncode == 0
    found = [path for path in (tmp_path / "products").rglob("*") if path.is_file() and path.suffix != ".etag"]
    assert [path.stat().st_size for path in found] == kept
    assert len(script.seen) == 1


def test_a_file_is_stored_under_its_hash(tmp_path: Path) -> None:
    part, layout = tmp_path / "x", Layout(tmp_path / "root")
    part.write_bytes(FITS)
    sha256 = hashlib.sha256(FITS).hexdigest()
    path = layout.product(sha256, "A_DRZ.FITS")
    file = store_file(part, "A_DRZ.FITS", layout, etag="v1")
    assert file == FetchedFile(path=path, sha256=sha256, size_bytes=len(FITS), etag="v1")
    assert path.read_bytes() == FITS
    assert not part.exists()
