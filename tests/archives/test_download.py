"""Downloads: whole, checked, resumed, and never to a path that the archive chooses. Every byte comes over real HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubbleclip.core.errors import DiskFullError, DownloadError
from hubbleclip.core.layout import Layout
from tests.archives.conftest import fetch
from tests.bad_server import (
    FITS,
    LARGE_FITS,
    BadServer,
    Respond,
    chunked,
    drip,
    fits_file,
    give,
    give_range,
    reset,
    silence,
)

SIZES = pytest.mark.parametrize("body", [FITS, LARGE_FITS], ids=["small", "large"])


def reason_of(script: BadServer, root: Path, **more: object) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(script, root, **more)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def part_bytes(root: Path) -> bytes:
    parts = list((root / "products" / ".part").glob("*/*.part"))
    return parts[0].read_bytes() if parts else b""


def test_a_slow_drip_is_given_up_as_stalled_and_resumed(scripted, tmp_path: Path) -> None:
    hasty = {"stall_s": 1.0, "stall_bytes": 1000}
    script = scripted(drip(FITS, 5000, ETag='"v1"'), give_range(FITS, ETag='"v1"'))
    assert fetch(script, tmp_path, hasty=hasty).path.read_bytes() == FITS
    assert int(script.seen[1]["Range"][6:-1]) > 5000


@pytest.mark.parametrize(
    ("answer", "timeout_s", "reason"), [(silence(2), 0.3, "timeout"), (reset(b""), 20, "connection")]
)
def test_silence_and_a_broken_connection_have_their_reason(
    scripted, tmp_path: Path, answer: Respond, timeout_s: float, reason: str
) -> None:
    assert reason_of(scripted(answer), tmp_path, hasty={"timeout_s": timeout_s, "attempts": 1}) == reason


def test_a_body_up_to_the_end_of_the_connection_is_read(scripted, tmp_path: Path) -> None:
    def answer(handler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + FITS)
        handler.close_connection = True

    assert fetch(scripted(answer), tmp_path).path.read_bytes() == FITS


def test_too_little_space_is_noticed_before_the_body(scripted, tmp_path: Path) -> None:
    greedy = {"min_free_gb": 1e9}
    with pytest.raises(DiskFullError, match=r"GB are free .* 0\.000 GB are to be written .*fetch\.min_free_gb.*again$"):
        fetch(scripted(give(FITS)), tmp_path, hasty=greedy)


def stored(root: Path) -> list[Path]:
    return list(Layout(root).products.glob("[0-9a-f]*"))


@SIZES
@pytest.mark.parametrize(("more", "reason"), [(2880, "truncated"), (-2880, "too_large")])
def test_a_body_of_unstated_size_must_have_the_listed_one(
    scripted, tmp_path: Path, body: bytes, more: int, reason: str
) -> None:
    assert reason_of(scripted(chunked(body)), tmp_path, size_bytes=len(body) + more) == reason
    assert stored(tmp_path) == []


@SIZES
def test_the_content_of_a_file_of_the_listed_size_is_checked(scripted, tmp_path: Path, body: bytes) -> None:
    """The header declares more pixels than the file has."""
    size = str(len(body) - 2880).encode()
    assert (
        reason_of(scripted(give(body.replace(size, b"9" * len(size)))), tmp_path, size_bytes=len(body)) == "truncated"
    )
    assert stored(tmp_path) == []


def test_another_stated_size_than_listed_is_refused_before_the_body(scripted, tmp_path: Path) -> None:
    assert reason_of(scripted(give(b"", length=10**9)), tmp_path, size_bytes=len(FITS)) == "damaged"


CHILD = """
import resource, sys
from pathlib import Path
from hubbleclip.archives.http.download import DownloadRequest, fetch_file
from hubbleclip.archives.http.client import Transport
from hubbleclip.core.errors import DiskFullError
from hubbleclip.core.layout import Layout
from hubbleclip.config.settings import FetchSettings
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
for url, root in zip(sys.argv[2::2], sys.argv[3::2]):
    request = DownloadRequest(uri="mast:x", file_name="a.fits", size_bytes=None, layout=Layout(Path(root)))
    try:
        fetch_file(Transport(FetchSettings()), url, request)
    except DiskFullError as error:
        print(error)
"""


def test_a_full_disk_ends_the_run_and_keeps_the_bytes_that_arrived(scripted, tmp_path: Path) -> None:
    small, large = (scripted(give(body, ETag='"v1"')) for body in (fits_file(50), LARGE_FITS))
    words = ["100000", small.url, f"{tmp_path}/small", large.url, f"{tmp_path}/large"]
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=True)
    assert done.stdout.count("cannot be written (File too large): make room") == 2
    for name, script, kept in (("small", small, []), ("large", large, [100_000])):
        found = [path for path in (tmp_path / name / "products").rglob("*") if path.is_file()]
        assert [path.stat().st_size for path in found if path.suffix != ".etag"] == kept
        assert len(script.seen) == 1


def test_a_killed_download_is_resumed_and_a_second_run_does_not_interfere(scripted, tmp_path: Path) -> None:
    script = scripted(drip(LARGE_FITS, 2_000_000, ETag='"v1"'), give_range(LARGE_FITS, ETag='"v1"'))
    with subprocess.Popen([sys.executable, "-c", CHILD, str(10**9), script.url, str(tmp_path)]) as child:
        until = time.monotonic() + 120
        while len(part_bytes(tmp_path)) < 1_900_000 and time.monotonic() < until:
            time.sleep(0.05)
        assert reason_of(script, tmp_path) == "busy"
        os.kill(child.pid, signal.SIGKILL)
    size = len(part_bytes(tmp_path))
    assert fetch(script, tmp_path).path.read_bytes() == LARGE_FITS
    assert script.seen[-1]["Range"] == f"bytes={size}-"


@pytest.mark.parametrize("is_renamed", [False, True])
def test_a_partial_file_that_another_run_changes_meanwhile_is_left_to_it(
    scripted, tmp_path: Path, is_renamed: bool
) -> None:
    """Between the request and the lock, the other run writes more bytes, or finishes the file."""
    part, more = Layout(tmp_path).part("mast:x"), give_range(LARGE_FITS, ETag='"v1"')

    def meanwhile(handler) -> None:
        part.rename(tmp_path / "whole") if is_renamed else part.write_bytes(part.read_bytes() + b"more")
        more(handler)

    script = scripted(give(LARGE_FITS[:2_000_000], length=len(LARGE_FITS), ETag='"v1"'), meanwhile)
    assert reason_of(script, tmp_path) == "busy"
    assert part_bytes(tmp_path) == (b"" if is_renamed else LARGE_FITS[:2_000_000] + b"more")
