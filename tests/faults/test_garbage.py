"""An archive that answers nonsense, lies or nothing ends a run with one line; a sane one then gets all that was asked."""

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

from hubbleclip.simulator.server.fault_plan import FaultPlan, FaultRule
from hubbleclip.simulator.server.launcher import running_simulator

pytestmark = pytest.mark.slow

Bend = Callable[[str, bytes, dict[str, str]], tuple[bytes, dict[str, str]]]
"""Makes of a request's path and body, an answer and its headers another answer: `(asked, body, headers)`."""


@contextmanager
def bent(bend: Bend) -> Iterator[str]:
    """The address of a server that asks the simulated archive and bends its answers."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept = {name: self.headers[name] for name in ("Content-Type", "Range", "If-Range") if name in self.headers}
            answer = requests.request(self.command, url + self.path, data=body, headers=kept, timeout=20)
            content, headers = bend(unquote(self.path + body.decode()), answer.content, {})
            self.send_response(answer.status_code)
            for name, value in (
                {"Content-Type": answer.headers["Content-Type"], "Content-Length": str(len(content))} | headers
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with running_simulator(SKY) as url, ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def counts_more(asked: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Counts are three too high."""
    if "COUNT_BIG" in asked and b"Column1" in body:
        table = json.loads(body)
        for row in table["data"]:
            row["Column1"] += 3
        return json.dumps(table).encode(), headers
    return body, headers


def promises_more(asked: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Every page says that there are three more rows than come."""
    table = json.loads(body) if "/invoke" in asked else {}
    if table.get("data") and "COUNT_BIG" not in asked:
        table["paging"] |= {name: table["paging"][name] + 3 for name in ("rowsFiltered", "rowsTotal")}
        return json.dumps(table).encode(), headers
    return body, headers


def says_10_gb(asked: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Every file has 10 GB, says its header."""
    return body, headers | ({"Content-Length": str(10**10)} if "Download" in asked else {})


def always(kind: str) -> AbstractContextManager[str]:
    return running_simulator(SKY, FaultPlan(rules=(FaultRule(kind=kind),), longest_s=20))


GARBAGE: dict[str, tuple[Callable[[], AbstractContextManager[str]], str]] = {
    "a web page for everything": (partial(always, "html"), "web page"),
    "no answer to anything": (partial(always, "hang"), "in time|within|down"),
    "counts that lie": (partial(bent, counts_more), "observations came"),
    "pages that lie": (partial(bent, promises_more), "rows came|observations came"),
}


@pytest.fixture(scope="module")
def reference(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, tuple]]:
    """A sane archive, and what an ingest from it leaves."""
    data = tmp_path_factory.mktemp("sane")
    with running_simulator(SKY) as url:
        ingest(prefect, url, data, requests_per_s=1000)
        yield url, state(data)


def ingest(api: str, url: str, data: Path, **fetch: object) -> tuple[int, str]:
    """Exit code, and what stands on standard error; one that hangs fails."""
    child = start(api, overrides(url, data, **fetch))
    told = child.communicate(timeout=200)[1]
    return child.returncode, told


def last_line(told: str) -> str:
    """The one line for the user, which stands alone: no traceback, no second one."""
    assert "Traceback" not in told, told
    lines = [line for line in told.splitlines() if line.startswith("hubbleclip: ")]
    assert lines == [told.splitlines()[-1]], told
    return lines[0]


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_with_one_line_and_the_next_run_gets_everything(
    name: str, prefect: str, reference: tuple[str, tuple], tmp_path: Path
) -> None:
    serving, told_of = GARBAGE[name]
    with serving() as url:
        code, told = ingest(prefect, url, tmp_path, breaker_failures=8)
    assert code == 2, told
    line = last_line(told)
    assert any(part in line for part in told_of.split("|")), line
    assert not read_rows(tmp_path / "demo")["product"]
    assert ingest(prefect, reference[0], tmp_path, requests_per_s=1000)[0] == 0
    assert state(tmp_path) == reference[1]


def test_files_of_10_gb_are_not_begun(prefect: str, reference: tuple[str, tuple], tmp_path: Path) -> None:
    with bent(says_10_gb) as url:
        code, told = ingest(prefect, url, tmp_path, requests_per_s=1000)
    rows, files = state(tmp_path)
    assert code == 0, told
    assert {row["error"] for row in rows["attempt"]} == {"too_large"}
    assert len(rows["attempt"]) == len(rows["product"])
    assert files == {}
    assert ingest(prefect, reference[0], tmp_path, requests_per_s=1000)[0] == 0
    assert state(tmp_path) == reference[1]


def test_a_full_disk_is_one_line_and_nothing_half_written_counts(
    prefect: str, reference: tuple[str, tuple], tmp_path: Path
) -> None:
    code, told = ingest(prefect, reference[0], tmp_path, requests_per_s=1000, min_free_gb=1e9)
    rows, files = state(tmp_path)
    assert code == 2, told
    assert "fetch.min_free_gb" in last_line(told)
    assert files == {}
    assert rows["product"]
    assert not any(row["sha256"] or row["path"] for row in rows["product"])
    assert not rows["attempt"]
    assert ingest(prefect, reference[0], tmp_path, requests_per_s=1000)[0] == 0
    assert state(tmp_path) == reference[1]
