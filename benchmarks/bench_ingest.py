"""Ingest of metadata, as a command of its own: seconds for 10,000 observations, for nothing new, and memory by size.

The archive is the simulated one; its index is made, by one question for a count, before the clock starts. What the
second run asks for is told by the archive itself.
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

from benchmarks.measure import Row, Seconds, report, seconds_row
from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.server.fault_plan import REQUESTS_PATH
from hubbleclip.simulator.server.launcher import running_simulator, simulated_addresses

OBSERVATIONS_A_PROPOSAL = 10
SIZES = 1_000, 10_000, 100_000
TIMED = 10_000
KIB_A_MIB = 1024
RUNS = 3
KINDS = {"COUNT_BIG": "count", "Mast.Caom.Filtered": "observations", "Mast.Caom.Products": "products"}
"""MAST answers its queries at one address; these words tell them apart."""
OF_WINDOWS = "count", "observations"


@dataclass(frozen=True, slots=True)
class Run:
    """One command: how long it took, the most memory that it held (without the Prefect server beside it), and how often
    each request was made.
    """

    took_s: float
    peak_mib: float
    asked: Counter[str]


def kind_of(request: str) -> str:
    """What a request asks for: one of `KINDS`, else the address."""
    address, _, question = request.partition("?")
    return next((kind for mark, kind in KINDS.items() if mark in question), address)


def asked_of(url: str) -> Counter[str]:
    """How often each request was made so far."""
    found = Counter[str]()
    for request, _, times in requests.get(url + REQUESTS_PATH, timeout=60).json():
        found[request] += times
    return found


def by_window(asked: Counter[str]) -> Counter[str]:
    """Requests for observations and counts, by what they ask for: criteria and dates, whichever page or column. A query
    that the archive had not finished, and was asked after, is one request.
    """
    questions = (request.partition("?")[2] for request in asked if kind_of(request) in OF_WINDOWS)
    return Counter(json.dumps(json.loads(question)["params"]["filters"]) for question in questions)


def request_figures(asked: Counter[str]) -> dict[str, int]:
    """What a run asked for, in numbers: requests by kind, those that asked after an unfinished query, windows."""
    kinds, windows = Counter[str](), by_window(asked)
    for request, times in asked.items():
        kinds[kind_of(request)] += times
    return {f"requests: {kind}": times for kind, times in kinds.items()} | {
        "of them to ask after an unfinished query": asked.total() - len(asked),
        "windows": len(windows),
        "most requests a window": max(windows.values(), default=0),
    }


def warm(url: str) -> None:
    """Let the archive make its index."""
    question = {"service": "Mast.Caom.Filtered", "params": {"columns": "COUNT_BIG(*)", "filters": []}, "format": "json"}
    requests.post(f"{url}/api/v0/invoke", data="request=" + quote(json.dumps(question)), timeout=600)
    requests.get(f"{url}/hst/abstracts.cat", timeout=600)


def ingest(url: str, data: Path) -> Run:
    """Run the command. Raises subprocess.CalledProcessError when it fails."""
    values = {
        "archive": simulated_addresses(url) | {"page_size": 5000, "max_products_per_proposal": 20},
        "fetch": {"files": False},
    }
    sets = [
        f"--set={section}.{name}={json.dumps(value)}"
        for section, names in values.items()
        for name, value in names.items()
    ]
    command = [sys.executable, "-m", "hubbleclip.cli.app", "ingest", "--data", str(data), *sets]
    before, started = asked_of(url), time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    told = child.stderr.read() if child.stderr else ""
    _, status, usage = os.wait4(child.pid, 0)
    took_s = time.perf_counter() - started
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command, stderr=told)
    return Run(took_s, usage.ru_maxrss / KIB_A_MIB, asked_of(url) - before)


def measure(num_observations: int) -> tuple[list[Run], list[Run]]:
    """First and second runs, each pair in a folder of its own; one pair where the size is not the timed one."""
    num_proposals = num_observations // OBSERVATIONS_A_PROPOSAL
    sky = SimulatorSettings(num_proposals=num_proposals, observations_per_proposal=OBSERVATIONS_A_PROPOSAL)
    pairs: list[tuple[Run, Run]] = []
    with running_simulator(sky) as url:
        warm(url)
        for _ in range(RUNS if num_observations == TIMED else 1):
            with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
                pairs.append((ingest(url, Path(folder)), ingest(url, Path(folder))))
    return [first for first, _ in pairs], [second for _, second in pairs]


def rows_of(num_observations: int, first: Sequence[Run], again: Sequence[Run]) -> list[Row]:
    """The table's lines of one size."""
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
    """The numbers of requests of each run, by name."""
    told = [request_figures(run.asked) for run in runs]
    return {name: [figures.get(name, 0) for figures in told] for name in told[0]}


def plain_row(name: str, unit: str, values: Sequence[float]) -> Row:
    """A figure that is no time and has no peer."""
    middle = statistics.median(values)
    spread = round((max(values) - min(values)) / middle, 4) if middle else 0.0
    return Row(name=name, unit=unit, ours=round(middle, 1), peer=None, peer_name=None, ratio=None, runs=len(values),
               spread=spread)  # fmt: skip


def main() -> None:
    """Measure at each size, the smallest first."""
    rows = [row for size in SIZES for row in rows_of(size, *measure(size))]
    report("ingest", rows)


if __name__ == "__main__":
    main()
