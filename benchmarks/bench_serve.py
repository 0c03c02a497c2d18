"""The search server: time of a request, pages with pictures, load of 50 and 200 clients, and the command.

The index is synthetic: 260,000 tiles, and the text tower of a ViT-B/16 with random weights on the CPU. Each text is new
to the server unless a row says otherwise, so that it must be embedded. The clients share the machine with the server.
"""

from __future__ import annotations

import gzip
import http.client
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from benchmarks.bench_search import value_row
from benchmarks.measure import ROOT, Row, progress, report, sized
from benchmarks.synthetic_index import make_site
from hubbleclip.config.settings import ModelSettings, read_settings
from hubbleclip.core.layout import Layout
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.search.server.running_server import RunningServer, find_server

NUM_TILES, NUM_ALONE = sized(260_000, 5_000), 930  # the demo has 930 tiles
MODEL = sized(ModelSettings(name="ViT-B-16", pretrained=""), ModelSettings(name="hubbleclip-tiny", pretrained=""))
NUM_REQUESTS = sized(200, 20)
LOAD_S, NUM_CLIENTS, NUM_AT_ONCE = sized(60.0, 3.0), 50, 200
NUM_BROWSERS, BROWSER_CONNECTIONS, NUM_BURSTS = sized(20, 2), 6, sized(5, 1)
NUM_PICTURES, PICTURE_PX, GZIP, JPEG = 24, 512, b"\x1f\x8b", b"\xff\xd8"
NUM_COMMANDS = sized(3, 1)
TIMEOUT_S = 60
START_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status and seconds of a request; `is_asked_to_retry` says that the response has a Retry-After."""

    status: int
    seconds: float
    is_asked_to_retry: bool = False


def texts(seed: int) -> Iterator[str]:
    """Make short queries that do not repeat."""
    words = sorted({word for query in read_vocabulary()["queries"] for word in query.split()})
    pairs = list(itertools.permutations(words, 3))
    random.Random(seed).shuffle(pairs)
    return (" ".join(pair) for pair in pairs)


def ask(connection: http.client.HTTPConnection, **parameters: str) -> Answer:
    """Send a search and read its JSON; the status is 0 if there is none."""
    started = time.perf_counter()
    try:
        connection.request("GET", f"/api/v1/search?{urlencode(parameters)}")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return Answer(status=0, seconds=time.perf_counter() - started)
    is_asked = response.getheader("Retry-After") is not None
    return Answer(status=response.status, seconds=time.perf_counter() - started, is_asked_to_retry=is_asked)


def connect(server: RunningServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT_S)


def command(*words: str, data: Path) -> list[str]:
    return [sys.executable, "-m", "hubbleclip.cli.app", *words, "--data", str(data)]


@contextmanager
def served(data: Path) -> Iterator[tuple[RunningServer, int]]:
    """Serve a data folder until the block ends; yields address and process."""
    layout, environment = Layout(data / "demo"), os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command("serve", "--port", "0", data=data), env=environment) as process:
        deadline = time.monotonic() + START_S
        while (found := find_server(layout.search_server)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server does not start")
            time.sleep(0.1)
        try:
            yield found, process.pid
        finally:
            process.send_signal(signal.SIGINT)


def memory_mb(pid: int) -> float:
    """Resident memory of a process without the pages of files, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) / 1000


def figure(name: str, unit: str, value: float, runs: int = 1) -> Row:
    """Make a row of one figure that `runs` requests gave."""
    return replace(value_row(name, unit, [value]), runs=runs)


def percentile(answers: list[Answer], share: float) -> float:
    return float(np.percentile([1000 * answer.seconds for answer in answers], share))


def measure_one(server: RunningServer) -> Iterator[Row]:
    """Measure one client: each mode, and a text that the server has seen before."""
    source, connection = texts(1), connect(server)
    for _ in range(10):
        ask(connection, q=next(source))
    cases: dict[str, dict[str, str]] = {
        "both": {},
        "model": {"mode": "model"},
        "words": {"mode": "words"},
        "both, a known text": {"q": "spiral galaxy"},
    }
    for name, parameters in cases.items():
        answers = [ask(connection, **{"q": next(source)} | parameters) for _ in range(NUM_REQUESTS)]
        if any(answer.status != 200 for answer in answers):
            raise RuntimeError(f"{name}: {answers}")
        for share in (50, 95):
            yield figure(f"1 client, {name}: p{share}", "ms", percentile(answers, share), len(answers))


def load(server: RunningServer, num_clients: int, load_s: float) -> list[Answer]:
    """Let clients ask without a pause, each on its own connection."""
    end = time.monotonic() + load_s

    def client(number: int) -> list[Answer]:
        source, connection, answers = texts(100 + number), connect(server), []
        while time.monotonic() < end:
            answers.append(ask(connection, q=next(source)))
        return answers

    with ThreadPoolExecutor(num_clients) as threads:
        return [answer for answers in threads.map(client, range(num_clients)) for answer in answers]


def measure_load(server: RunningServer, pid: int) -> Iterator[Row]:
    """Measure 50 clients, then 200 at one time."""
    before_mb = memory_mb(pid)
    answers = load(server, NUM_CLIENTS, LOAD_S)
    name = f"{NUM_CLIENTS} clients, {LOAD_S:g} s"
    num_errors = sum(answer.status != 200 for answer in answers)
    yield figure(f"{name}: errors", "requests", num_errors, len(answers))
    yield figure(f"{name}: throughput", "requests/s", len(answers) / LOAD_S, len(answers))
    for share in (50, 95):
        yield figure(f"{name}: p{share}", "ms", percentile(answers, share), len(answers))
    yield figure(f"{name}: memory before", "MB", before_mb)
    yield figure(f"{name}: memory after", "MB", memory_mb(pid))
    gate, source = threading.Barrier(NUM_AT_ONCE), texts(7)
    wanted = [next(source) for _ in range(NUM_AT_ONCE)]

    def client(text: str) -> Answer:
        gate.wait()
        return ask(connect(server), q=text)

    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        found = list(threads.map(client, wanted))
    retried = sum(answer.status == 503 and answer.is_asked_to_retry for answer in found)
    answered = sum(answer.status == 200 for answer in found)
    name = f"{NUM_AT_ONCE} clients at one time"
    yield figure(f"{name}: answers", "requests", answered)
    yield figure(f"{name}: 503 with Retry-After", "requests", retried)
    yield figure(f"{name}: errors", "requests", NUM_AT_ONCE - answered - retried)
    yield figure(f"{name}: longest", "s", max(answer.seconds for answer in found))


def fetch(connection: http.client.HTTPConnection, url: str) -> tuple[Answer, bytes]:
    """Fetch an address as a browser does."""
    started = time.perf_counter()
    connection.request("GET", url, headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    content = response.read()
    return Answer(status=response.status, seconds=time.perf_counter() - started), content


def page_of(server: RunningServer, layout: Layout, text: str) -> tuple[int, list[str]]:
    """Open a page of hits, draw the pictures of its tiles, and return its bytes and the addresses of the pictures."""
    connection = connect(server)
    address = urlencode({"q": f'"{text}"', "group": "none"})  # in quotes, no word becomes a filter
    answer, content = fetch(connection, f"/?{address}")
    html = gzip.decompress(content) if content.startswith(GZIP) else content
    urls = re.findall(r'<img src="(/api/v1/tiles/[^"]+)"', html.decode())
    if answer.status != 200 or len(urls) != NUM_PICTURES:
        raise RuntimeError(f"the page of {text!r} has the status {answer.status} and {len(urls)} pictures")
    for url in urls:
        path = layout.tile(url.split("/")[4])
        path.parent.mkdir(parents=True, exist_ok=True)
        noise_yx = np.random.default_rng(len(path.name)).normal(40, 12, (PICTURE_PX, PICTURE_PX))
        Image.fromarray(noise_yx.clip(0, 255).astype(np.uint8)).save(path)
    return len(content), urls


def measure_pictures(server: RunningServer, layout: Layout) -> Iterator[Row]:
    """Measure pages with pictures: one client, then many at one time with six connections each, beside searches."""
    wanted, source = texts(11), texts(12)
    num_bytes, urls = page_of(server, layout, next(wanted))
    connection = connect(server)
    for kind in ("new", "known"):
        found = [fetch(connection, url) for url in urls]
        if num_pictures(found) < len(urls):
            raise RuntimeError(f"one client: {num_pictures(found)} of {len(urls)} pictures came")
        yield figure(f"1 client, a {kind} picture: p50", "ms", percentile([one for one, _ in found], 50), len(urls))
    yield figure("a page of hits with its pictures", "kB", (num_bytes + sum(len(c) for _, c in found)) / 1000)
    alone = [ask(connection, q=next(source)) for _ in range(NUM_REQUESTS // 2)]
    pictures: list[tuple[Answer, bytes]] = []
    searches: list[Answer] = []
    for _ in range(NUM_BURSTS):
        pages = [page_of(server, layout, next(wanted))[1] for _ in range(NUM_BROWSERS)]
        shares = [urls[first::BROWSER_CONNECTIONS] for urls in pages for first in range(BROWSER_CONNECTIONS)]
        gate, connection = threading.Barrier(len(shares)), connect(server)

        def load_share(urls: list[str], gate: threading.Barrier = gate) -> list[tuple[Answer, bytes]]:
            connection = connect(server)
            gate.wait()
            return [fetch(connection, url) for url in urls]

        with ThreadPoolExecutor(len(shares)) as threads:
            loading = [threads.submit(load_share, urls) for urls in shares]
            searches.append(ask(connection, q=next(source)))
            while not all(one.done() for one in loading):
                searches.append(ask(connection, q=next(source)))
        pictures += [answer for one in loading for answer in one.result()]
    name = f"{NUM_BROWSERS} clients x {BROWSER_CONNECTIONS} connections"
    asked = f"{name}: pictures that came, of {NUM_BURSTS} x {len(pictures) // NUM_BURSTS}"
    yield figure(asked, "pictures", num_pictures(pictures), len(pictures))
    yield figure(f"{name}: new picture p50", "ms", percentile([one for one, _ in pictures], 50), len(pictures))
    refused = sum(answer.status != 200 for answer in alone + searches)
    yield figure(f"{name}: searches refused before or meanwhile", "requests", refused, len(alone + searches))
    yield figure("searches without pictures: p95", "ms", percentile(alone, 95), len(alone))
    yield figure(f"{name}: searches meanwhile p95", "ms", percentile(searches, 95), len(searches))
    ratio = percentile(searches, 95) / percentile(alone, 95)
    yield figure(f"{name}: searches meanwhile p95 / without pictures", "x", ratio, len(searches))


def num_pictures(found: list[tuple[Answer, bytes]]) -> int:
    """Count the responses that are whole pictures."""
    return sum(answer.status == 200 and content.startswith(JPEG) for answer, content in found)


def command_row(name: str, data: Path) -> Row:
    """Time the command as a person waits for it."""
    seconds = []
    for text in itertools.islice(texts(9), NUM_COMMANDS + 1):
        started = time.perf_counter()
        subprocess.run(
            command("search", text, "--json", data=data),
            stdout=subprocess.DEVNULL,
            check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        seconds.append(time.perf_counter() - started)
    return value_row(name, "s", seconds[1:])


def measure(folder: Path) -> Iterator[Row]:
    """Measure everything below a folder."""
    large, small = folder / "large", folder / "small"
    progress(f"a site of {NUM_TILES:,} tiles")
    make_site(Layout(large / "demo"), NUM_TILES, MODEL)
    make_site(Layout(small / "demo"), NUM_ALONE, read_settings("demo").model)
    with served(large) as (server, pid):
        progress("one client")
        yield from measure_one(server)
        progress("pages with pictures")
        yield from measure_pictures(server, Layout(large / "demo"))
        progress(f"{NUM_CLIENTS} clients")
        yield from measure_load(server, pid)
        yield command_row(f"hubbleclip search through the server, {NUM_TILES:,} tiles", large)
    yield command_row(f"hubbleclip search alone, {NUM_ALONE} tiles, the demo's model", small)
    yield command_row(f"hubbleclip search alone, {NUM_TILES:,} tiles, {MODEL.name}", large)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as work_dir:
        report("serve", list(measure(Path(work_dir))))
