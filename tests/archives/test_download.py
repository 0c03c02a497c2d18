"""Downloads: whole, checked, resumed, and never to a path that the archive chooses. Every byte comes over real HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hubbleclip.archives.download import fetch_file
from hubbleclip.archives.hst import HstArchive
from hubbleclip.archives.landing import FetchedFile
from hubbleclip.archives.transport import RateLimiter, RefusedError, Transport, same_host
from hubbleclip.errors import DownloadError
from hubbleclip.paths import Layout
from hubbleclip.records import Product
from hubbleclip.settings import FetchSettings
from hubbleclip.simulator.faults import FaultRule

CARDS = "SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    1"
HEADER = "".join(card.ljust(80) for card in (*CARDS, f"NAXIS1  = {2880 * 9:20d}", "END")).encode().ljust(2880)
FITS = HEADER + (bytes(range(256)) * 102)[: 2880 * 9]
FETCH = FetchSettings(requests_per_s=1000, backoff_s=0.01, attempts=4, timeout_s=10)


class Script:
    """A server that gives one scripted answer a request, the last again and again, and keeps the requests' headers."""

    def __init__(self, *answers: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.answers = list(answers)
        self.seen: list[dict[str, str]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script.seen.append(dict(self.headers))
                answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/file"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def give(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> Callable:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def scripted() -> Iterator[Callable[..., Script]]:
    scripts: list[Script] = []

    def make(*answers: Callable) -> Script:
        scripts.append(Script(*answers))
        return scripts[-1]

    yield make
    for script in scripts:
        script.server.shutdown()
        script.server.server_close()


def fetch(script: Script, root: Path, size_bytes: int | None = None, file_name: str = "a_drz.fits") -> FetchedFile:
    return fetch_file(
        Transport(FETCH), script.url, uri="mast:x", file_name=file_name, size_bytes=size_bytes, layout=Layout(root)
    )


def part_bytes(root: Path) -> bytes:
    parts = list((root / "products" / ".part").glob("*.part"))
    return parts[0].read_bytes() if parts else b""


def test_a_cut_file_is_gone_on_with_from_where_it_broke(scripted, tmp_path: Path) -> None:
    half = len(FITS) // 2
    rest = give(FITS[half:], 206, Content_Range=f"bytes {half}-{len(FITS) - 1}/{len(FITS)}", ETag='"v1"')
    script = scripted(give(FITS[:half], length=len(FITS), ETag='"v1"'), rest)
    assert fetch(script, tmp_path).path.read_bytes() == FITS
    assert (script.seen[1]["Range"], script.seen[1]["If-Range"]) == (f"bytes={half}-", '"v1"')


def test_a_part_of_an_older_version_is_replaced_not_mixed(scripted, tmp_path: Path) -> None:
    newer = FITS[:2880] + b"\1" * (len(FITS) - 2880)
    script = scripted(give(FITS[:5000], length=len(FITS), ETag='"v1"'), give(newer, ETag='"v2"'))
    assert fetch(script, tmp_path).path.read_bytes() == newer


def test_without_a_version_a_cut_file_is_begun_anew(scripted, tmp_path: Path) -> None:
    script = scripted(give(FITS[:5000], length=len(FITS)), give(FITS))
    assert fetch(script, tmp_path).path.read_bytes() == FITS
    assert "Range" not in script.seen[1]


def test_a_part_that_is_longer_than_the_file_is_dropped(scripted, tmp_path: Path) -> None:
    part = Layout(tmp_path).part("mast:x")
    part.parent.mkdir(parents=True)
    part.write_bytes(FITS + b"more")
    part.with_suffix(".etag").write_text('"v1"')
    script = scripted(give(b"", 416), give(FITS, ETag='"v1"'))
    assert fetch(script, tmp_path).path.read_bytes() == FITS


def test_a_web_page_with_status_200_is_refused(scripted, tmp_path: Path) -> None:
    script = scripted(give(b"<html>down</html>", Content_Type="text/html"))
    with pytest.raises(DownloadError, match="web page"):
        fetch(script, tmp_path)
    assert len(script.seen) == FETCH.attempts
    assert part_bytes(tmp_path) == b""


def test_a_web_page_under_another_name_is_refused(scripted, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="web page"):
        fetch(scripted(give(b"<!DOCTYPE html>", Content_Type="application/fits")), tmp_path)


def test_a_size_other_than_listed_is_refused(scripted, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"28800 bytes came where the archive lists 9"):
        fetch(scripted(give(FITS)), tmp_path, size_bytes=9)


def test_a_file_that_ends_inside_a_fits_block_is_refused(scripted, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="FITS file is cut"):
        fetch(scripted(give(FITS[:-1])), tmp_path)


def test_retry_after_is_obeyed(scripted, tmp_path: Path) -> None:
    script = scripted(give(b"", 429, Retry_After="1"), give(FITS))
    started = time.monotonic()
    fetch(script, tmp_path)
    assert time.monotonic() - started >= 1.0


def test_a_missing_file_is_not_asked_for_again(scripted, tmp_path: Path) -> None:
    script = scripted(give(b"", 404))
    with pytest.raises(DownloadError, match="404"):
        fetch(script, tmp_path)
    assert len(script.seen) == 1


def test_a_redirect_on_the_same_host_is_followed(scripted, tmp_path: Path) -> None:
    assert fetch(scripted(give(b"", 302, Location="/other"), give(FITS)), tmp_path).path.read_bytes() == FITS


def test_a_redirect_to_another_host_is_refused(scripted, tmp_path: Path) -> None:
    script = scripted(give(b"", 302, Location="http://example.org/evil"))
    with pytest.raises(DownloadError, match=r"another host, example\.org"):
        fetch(script, tmp_path)


def test_the_user_agent_says_who_asks(scripted, tmp_path: Path) -> None:
    script = scripted(give(FITS))
    transport = Transport(FETCH.model_copy(update={"contact": "me@example.org"}))
    fetch_file(transport, script.url, uri="mast:x", file_name="a.fits", size_bytes=None, layout=Layout(tmp_path))
    assert script.seen[0]["User-Agent"].startswith("hubbleclip/")
    assert "+me@example.org" in script.seen[0]["User-Agent"]


def test_an_evil_file_name_reaches_no_path(scripted, tmp_path: Path) -> None:
    file = fetch(scripted(give(FITS)), tmp_path / "root", file_name="../../evil/a_drz.fits")
    assert file.path == Layout(tmp_path / "root").product(file.sha256, "x.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_no_partial_file_is_left_after_success(scripted, tmp_path: Path) -> None:
    fetch(scripted(give(FITS, ETag='"v1"')), tmp_path)
    assert list((tmp_path / "products" / ".part").iterdir()) == []


@pytest.mark.parametrize("kind", ["500", "503", "429", "html", "truncated", "reset"])
def test_a_download_outlives_passing_faults_of_the_server(faulty, kind: str) -> None:
    archive: HstArchive = faulty(FaultRule(kind=kind, path="/api/v0.1/Download", times=2))
    product = _first_product(archive)
    assert archive.fetch_product(product).size_bytes == product.size_bytes


def test_a_storm_of_faults_changes_no_byte(faulty, archive: HstArchive) -> None:
    stormy: HstArchive = faulty(
        *(FaultRule(kind=kind, path="/api/v0.1/Download", share=0.15) for kind in ("truncated", "reset", "503", "html"))
    )
    calm, wild = archive.fetch_product(_first_product(archive)), None
    for _ in range(10):
        try:
            wild = stormy.fetch_product(_first_product(stormy))
            break
        except DownloadError:
            continue
    assert wild is not None
    assert wild.sha256 == calm.sha256


def _first_product(archive: HstArchive) -> Product:
    page = next(iter(archive.query_observations(0)))
    return archive.list_products(page[:1])[0][0]


def test_the_rate_limit_holds_over_threads() -> None:
    limiter = RateLimiter(100)
    started = time.monotonic()
    threads = [threading.Thread(target=lambda: [limiter.wait() for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 19 / 100


@pytest.mark.parametrize("location", ["http://other/x", "//other/x", "ftp://here/x", "http://here:81/x"])
def test_links_to_other_hosts_are_refused(location: str) -> None:
    with pytest.raises(RefusedError):
        same_host("http://here/a", location)
