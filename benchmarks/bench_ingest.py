"""Ingest of metadata as a command: seconds for 10,000 observations, seconds for nothing new, and peak memory by size.

The archive is the simulated one; its index is built before the clock starts. The archive itself counts the requests of
the second run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import requests

from benchmarks.measure import Row, Seconds, each, progress, report, seconds_row, sized
from hubbleclip.simulator.observations import SkySettings
from tests.faulty_archive.archive import running_archive
from tests.faulty_archive.plan import REQUESTS_PATH

OBSERVATIONS_PER_PROPOSAL = 10
SIZES = sized((1_000, 10_000, 100_000), (200,))
TIMED = sized(10_000, 200)
KIB_PER_MIB = 1024
RUNS = sized(3, 1)
REQUEST_KINDS = {"COUNT_BIG": "count", "Mast.Caom.Filtered": "observations", "Mast.Caom.Products": "products"}
"""MAST serves all queries at one address; these strings in their bodies distinguish them."""
WINDOW_KINDS = "count", "observations"


@dataclass(frozen=True, slots=True)
class Run:
    """One command: duration, peak memory (without the Prefect server) and counts of its requests."""

    took_s: float
    peak_mib: float
    requests: Counter[str]


def kind_of(request: str) -> str:
    """Classify a request: one of `REQUEST_KINDS`, else the address."""
    address, _, query = request.partition("?")
    return next((kind for mark, kind in REQUEST_KINDS.items() if mark in query), address)


def count_requests(url: str) -> Counter[str]:
    """Count the requests that the archive has received so far."""
    counts = Counter[str]()
    for request, _, times in requests.get(url + REQUESTS_PATH, timeout=60).json():
        counts[request] += times
    return counts


def by_window(requests: Counter[str]) -> Counter[str]:
    """Count requests for observations and counts by their filters (criteria and dates), whatever page or column.

    A query that was unfinished and polled again counts once.
    """
    queries = (request.partition("?")[2] for request in requests if kind_of(request) in WINDOW_KINDS)
    return Counter(json.dumps(json.loads(query)["params"]["filters"]) for query in queries)


def request_figures(requests: Counter[str]) -> dict[str, int]:
    """Summarise the requests of a run: by kind, polls of unfinished queries, date windows."""
    kinds, windows = Counter[str](), by_window(requests)
    for request, times in requests.items():
        kinds[kind_of(request)] += times
    return {f"requests: {kind}": times for kind, times in kinds.items()} | {
        "of them to ask after an unfinished query": requests.total() - len(requests),
        "windows": len(windows),
        "most requests a window": max(windows.values(), default=0),
    }


def build_index(url: str) -> None:
    """Make the archive build its index, by queries that need it."""
    query = {"service": "Mast.Caom.Filtered", "params": {"columns": "COUNT_BIG(*)", "filters": []}, "format": "json"}
    requests.post(f"{url}/api/v0/invoke", data="request=" + quote(json.dumps(query)), timeout=600)
    requests.get(f"{url}/hst/abstracts.cat", timeout=600)


def ingest(url: str, data: Path) -> Run:
    """Run the command. Raises subprocess.CalledProcessError when it fails."""
    values = {
        "archive": {"mast_url": url, "max_products_per_proposal": 20},
        "fetch": {"files": False},
    }
    sets = [
        f"--set={section}.{name}={json.dumps(value)}"
        for section, names in values.items()
        for name, value in names.items()
    ]
    command = [sys.executable, "-m", "hubbleclip.cli.app", "ingest", "--data", str(data), *sets]
    before, started = count_requests(url), time.perf_counter()  # the archive counts since its start
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = child.stderr.read() if child.stderr else ""
    _, status, usage = os.wait4(child.pid, 0)  # unlike Popen.wait it returns the peak memory of the child
    took_s = time.perf_counter() - started
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command, stderr=errors)
    return Run(took_s, usage.ru_maxrss / KIB_PER_MIB, count_requests(url) - before)


def measure(num_observations: int) -> tuple[list[Run], list[Run]]:
    """Run first and second ingests, each pair in an empty folder; a single pair unless the size is the timed one."""
    num_proposals = num_observations // OBSERVATIONS_PER_PROPOSAL
    sky = SkySettings(num_proposals=num_proposals, observations_per_proposal=OBSERVATIONS_PER_PROPOSAL)
    pairs: list[tuple[Run, Run]] = []
    with running_archive(sky) as url:
        build_index(url)
        runs = RUNS if num_observations == TIMED else 1
        for number in range(1, runs + 1):
            progress(f"{num_observations:,} observations: ingest and ingest again, run {number} of {runs}")
            with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
                pairs.append((ingest(url, Path(folder)), ingest(url, Path(folder))))
    return [first for first, _ in pairs], [second for _, second in pairs]


def rows_of(num_observations: int, first: Sequence[Run], again: Sequence[Run]) -> list[Row]:
    """Make the rows of one size."""
    size = f"{num_observations:,} observations"
    rows = [plain_row(f"peak memory, {size}", "MiB", [run.peak_mib for run in first])]
    if num_observations == TIMED:
        rows += [
            seconds_row(f"ingest, {size}", Seconds(ours=tuple(run.took_s for run in first))),
            seconds_row(f"again, nothing new, {size}", Seconds(ours=tuple(run.took_s for run in again))),
            *(plain_row(f"again, {name}", "", values) for name, values in figures_of(again).items()),
        ]
    return rows


def figures_of(runs: Sequence[Run]) -> dict[str, list[int]]:
    """Collect the request figures of each run, by name."""
    of_runs = [request_figures(run.requests) for run in runs]
    return {name: [figures.get(name, 0) for figures in of_runs] for name in of_runs[0]}


def plain_row(name: str, unit: str, values: Sequence[float]) -> Row:
    """Make a row of a figure that is not a time and has no peer."""
    middle = statistics.median(values)
    spread = round((max(values) - min(values)) / middle, 4) if middle else 0.0
    return Row(
        name=name,
        unit=unit,
        ours=round(middle, 1),
        peer=None,
        peer_name=None,
        ratio=None,
        runs=len(values),
        spread=spread,
    )


def main() -> None:
    """Measure at each size, the smallest first."""
    rows = [row for size in each(SIZES, lambda size: f"{size:,} observations") for row in rows_of(size, *measure(size))]
    report("ingest", rows)


if __name__ == "__main__":
    main()
