"""An archive that returns invalid data or nothing ends a run with a one-line error; a later run gets everything."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
import requests
from storms import SKY, overrides, read_rows, start, state

from tests.faulty_archive.archive import running_archive
from tests.faulty_archive.plan import FaultPlan, FaultRule

pytestmark = pytest.mark.nightly

Tamper = Callable[[str, bytes, dict[str, str]], tuple[bytes, dict[str, str]]]
"""Changes a response: `(request path and body, response body, headers to set) -> (body, headers)`."""


@contextmanager
def tampering_proxy(tamper: Tamper) -> Iterator[str]:
    """Serve a proxy of the simulated archive that changes its responses."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers_sent = {
                name: self.headers[name] for name in ("Content-Type", "Range", "If-Range") if name in self.headers
            }
            response = requests.request(self.command, url + self.path, data=body, headers=headers_sent, timeout=20)
            content, headers = tamper(unquote(self.path + body.decode()), response.content, {})
            self.send_response(response.status_code)
            for name, value in (
                {"Content-Type": response.headers["Content-Type"], "Content-Length": str(len(content))} | headers
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with running_archive(SKY) as url, ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def inflate_counts(request: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Add three to every count."""
    if "COUNT_BIG" in request and b"Column1" in body:
        table = json.loads(body)
        for row in table["data"]:
            row["Column1"] += 3
        return json.dumps(table).encode(), headers
    return body, headers


def inflate_totals(request: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Announce three more rows per page than are sent."""
    table = json.loads(body) if "/invoke" in request else {}
    if table.get("data") and "COUNT_BIG" not in request:
        table["paging"] |= {name: table["paging"][name] + 3 for name in ("rowsFiltered", "rowsTotal")}
        return json.dumps(table).encode(), headers
    return body, headers


def announce_10_gb(request: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Announce 10 GB for every file."""
    return body, headers | ({"Content-Length": str(10**10)} if "Download" in request else {})


def always(kind: str) -> AbstractContextManager[str]:
    return running_archive(SKY, FaultPlan(rules=(FaultRule(kind=kind),), longest_s=20))


GARBAGE: dict[str, tuple[Callable[[], AbstractContextManager[str]], str]] = {
    "a web page for everything": (partial(always, "html"), "web page"),
    "no response to anything": (partial(always, "hang"), "in time|within|down"),
    "wrong counts": (partial(tampering_proxy, inflate_counts), "rows came"),
    "wrong totals": (partial(tampering_proxy, inflate_totals), "rows came"),
}


@pytest.fixture(scope="module")
def reference(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, tuple]]:
    """A working archive, and the state that an ingest from it leaves."""
    data = tmp_path_factory.mktemp("sane")
    with running_archive(SKY) as url:
        ingest(prefect, url, data, requests_per_s=1000)
        yield url, state(data)


def ingest(api: str, url: str, data: Path, **fetch: object) -> tuple[int, str]:
    """Return exit code and standard error; a run that hangs fails."""
    child = start(api, overrides(url, data, **fetch))
    stderr = child.communicate(timeout=200)[1]
    return child.returncode, stderr


def last_line(stderr: str) -> str:
    """Return the only line for the user: no traceback and no other line."""
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stderr.splitlines() if line.startswith("hubbleclip: ")]
    assert lines == [stderr.splitlines()[-1]], stderr
    return lines[0]


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_a_one_line_error_and_the_next_run_gets_everything(
    name: str, prefect: str, reference: tuple[str, tuple], tmp_path: Path
) -> None:
    serve, expected = GARBAGE[name]
    with serve() as url:
        code, stderr = ingest(prefect, url, tmp_path)
    assert code == 2, stderr
    line = last_line(stderr)
    assert any(part in line for part in expected.split("|")), line
    assert not read_rows(tmp_path / "demo")["product"]
    assert ingest(prefect, reference[0], tmp_path, requests_per_s=1000)[0] == 0
    assert state(tmp_path) == reference[1]


def test_files_of_10_gb_are_not_downloaded(prefect: str, reference: tuple[str, tuple], tmp_path: Path) -> None:
    with tampering_proxy(announce_10_gb) as url:
        code, stderr = ingest(prefect, url, tmp_path, requests_per_s=1000)
    rows, files = state(tmp_path)
    assert code == 0, stderr
    assert {row["error"] for row in rows["attempt"]} == {"too_large"}
    assert len(rows["attempt"]) == len(rows["product"])
    assert files == {}
    assert ingest(prefect, reference[0], tmp_path, requests_per_s=1000)[0] == 0
    assert state(tmp_path) == reference[1]


def test_a_full_disk_is_a_one_line_error_and_leaves_no_partial_files(
    prefect: str, reference: tuple[str, tuple], tmp_path: Path
) -> None:
    code, stderr = ingest(prefect, reference[0], tmp_path, requests_per_s=1000, min_free_gb=1e9)
    rows, files = state(tmp_path)
    assert code == 2, stderr
    assert "fetch.min_free_gb" in last_line(stderr)
    assert files == {}
    assert rows["product"]
    assert not any(row["sha256"] or row["path"] for row in rows["product"])
    assert not rows["attempt"]
    assert ingest(prefect, reference[0], tmp_path, requests_per_s=1000)[0] == 0
    assert state(tmp_path) == reference[1]
