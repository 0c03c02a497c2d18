"""Timing of our code and of a peer on the same work, in turn in one run (A B A B): medians, spread and their ratio.

A contender is a context manager: given an empty folder, it prepares untimed and yields the function to be timed. With
QUICK=1 in the environment a benchmark only shows that it runs: see `sized`.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
PER_SECOND = "/s"
PROGRESS_EVERY_S = 10.0
STARTED_S = time.monotonic()
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Instructions, by their names in `/proc/cpuinfo`, on which the speed of a model depends."""
QUICK = os.environ.get("QUICK", "") not in {"", "0"}
"""Whether to use small sizes and few runs, and to print the results without writing them."""

T = TypeVar("T")

Contender = Callable[[Path], AbstractContextManager[Callable[[], object]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Seconds of each run, in order; `peer` is empty if there is no peer."""

    ours: tuple[float, ...]
    peer: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a result, in medians. `ratio` is how many times faster our code is than the peer, in any unit.

    `spread` is (longest - shortest) / median of the runs, the larger of both sides.
    """

    name: str
    unit: str
    ours: float
    peer: float | None
    peer_name: str | None
    ratio: float | None
    runs: int
    spread: float


def sized(full: T, quick: T) -> T:
    """Choose a size or a number of runs: `full`, or `quick` under QUICK=1."""
    return quick if QUICK else full


def progress(message: str) -> None:
    """Write a line to stderr with the seconds since the benchmark started."""
    print(f"[{time.monotonic() - STARTED_S:5.0f} s] {message}", file=sys.stderr, flush=True)


def each(items: Sequence[T], describe: Callable[[T], str] = str) -> Iterator[T]:
    """Iterate over steps, and say which one begins."""
    for number, item in enumerate(items, 1):
        progress(f"step {number} of {len(items)}: {describe(item)}")
        yield item


def time_in_turn(
    name: str,
    ours: Contender,
    peer: Contender | None = None,
    *,
    runs: int = 5,
    warm_ups: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Time both `runs` times in turn, each run in an empty folder; the first `warm_ups` rounds are not counted.

    Progress under `name` goes to stderr: a line at the start, then at most one per 10 seconds.
    """
    contenders = [ours] if peer is None else [ours, peer]
    before = "a warm-up and " if warm_ups else ""
    after = "" if peer is None else ", ours and the peer in turn"
    progress(f"{name}: {before}{runs} run{'s' if runs > 1 else ''}{after}")
    reported_s, rounds = time.monotonic(), []
    for number in range(warm_ups + runs):
        if time.monotonic() - reported_s > PROGRESS_EVERY_S:
            progress(f"{name}: run {number} of {runs}")
            reported_s = time.monotonic()
        rounds.append([_time_once(contender, clock) for contender in contenders])
    columns = [tuple(column) for column in zip(*rounds[warm_ups:], strict=True)]
    return Seconds(ours=columns[0], peer=columns[1] if peer else ())


def _time_once(contender: Contender, clock: Callable[[], float]) -> float:
    """Seconds of the work alone."""
    with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as folder, contender(Path(folder)) as work:
        # garbage and unwritten pages of the run before must not slow this one
        gc.collect()
        os.sync()
        start = clock()
        work()
        return clock() - start


def rate_row(name: str, unit: str, amount: float, seconds: Seconds, peer_name: str | None = None) -> Row:
    """Make a row of `amount` of work per second, in a `unit` that ends in `/s`; one run does `amount`."""
    if not unit.endswith(PER_SECOND):
        raise ValueError(f"the unit of a rate ends in {PER_SECOND}, not {unit!r}")
    return _row(name, unit, seconds, peer_name, lambda median_s: amount / median_s)


def seconds_row(name: str, seconds: Seconds, peer_name: str | None = None) -> Row:
    """Make a row of seconds per run: less is better, and `ratio` is still above 1 where our code is faster."""
    return _row(name, "s", seconds, peer_name, lambda median_s: median_s)


def figure_row(name: str, unit: str, values: Sequence[float]) -> Row:
    """Make a row of a figure that is measured once per run and has no peer."""
    spread = _rounded(_spread(values)) if statistics.median(values) else 0.0
    return Row(
        name=name,
        unit=unit,
        ours=_rounded(statistics.median(values)),
        peer=None,
        peer_name=None,
        ratio=None,
        runs=len(values),
        spread=spread,
    )


def _row(name: str, unit: str, seconds: Seconds, peer_name: str | None, value: Callable[[float], float]) -> Row:
    ours_s = statistics.median(seconds.ours)
    peer_s = statistics.median(seconds.peer) if seconds.peer else None
    return Row(
        name=name,
        unit=unit,
        ours=_rounded(value(ours_s)),
        peer=None if peer_s is None else _rounded(value(peer_s)),
        peer_name=peer_name,
        ratio=None if peer_s is None else _rounded(peer_s / ours_s),
        runs=len(seconds.ours),
        spread=_rounded(max(_spread(side) for side in (seconds.ours, seconds.peer) if side)),
    )


def _spread(side: Sequence[float]) -> float:
    return (max(side) - min(side)) / statistics.median(side)


def _rounded(value: float) -> float:
    """Round to four significant digits: timings are no more precise."""
    return float(f"{value:.4g}")


def machine_of(cpuinfo: str, meminfo: str) -> str:
    """Describe CPU, cores and memory from the texts of `/proc/cpuinfo` and `/proc/meminfo`, without the host name.

    Virtual machines hide the name of the CPU, so its family and model numbers and its instructions are named, too.
    """
    facts = dict(re.findall(r"^(model name|cpu family|model|flags)\s*:\s*(.+)$", cpuinfo, re.MULTILINE))
    num_cores = len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))
    memory_kib = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    name = facts.get("model name", platform.machine()).strip()
    if "cpu family" in facts:
        flags = facts.get("flags", "").split()
        instructions = " ".join(one for one in INSTRUCTIONS if one in flags)
        name = f"{name} (family {facts['cpu family']}, model {facts['model']}; {instructions})"
    return f"{name}, {num_cores} cores, {int(memory_kib[1]) / 2**20 if memory_kib else 0:.0f} GiB"


def read_machine() -> str:
    """Describe this machine; only its architecture where there is no `/proc`."""
    files = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    return machine_of(*(file.read_text() for file in files)) if files[0].is_file() else platform.machine()


def read_commit() -> str:
    """Return the commit, with `.dirty` if tracked files other than results differ from it; empty outside a checkout."""
    changed = ("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    try:
        return _git("rev-parse", "--short=12", "HEAD") + (".dirty" if _git(*changed) else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write_results(path: Path, rows: Sequence[Row], *, machine: str, date: str, commit: str) -> None:
    """Write the rows as JSON, with the machine, date and commit that they were measured on."""
    result = {"machine": machine, "date": date, "commit": commit, "rows": [asdict(row) for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def table_of(stage: str, rows: Sequence[Row]) -> Table:
    """Format the rows for the terminal."""
    peers = sorted({row.peer_name for row in rows if row.peer_name})
    table = Table("what", title=stage)
    for heading in ("unit", "ours", "peer", "faster", "runs", "spread"):
        table.add_column(heading, no_wrap=True)
    table.caption = f"peer: {', '.join(peers)}"
    for row in rows:
        figures = (_figure(value) for value in (row.ours, row.peer, row.ratio))
        table.add_row(row.name, row.unit, *figures, str(row.runs), f"{row.spread:.0%}")
    return table


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def report(stage: str, rows: Sequence[Row], machine: str | None = None) -> None:
    """Print the table and write `results/<stage>.json`; under QUICK=1 only print it. `machine` is this machine."""
    Console().print(table_of(stage, rows))
    if QUICK:
        progress(f"{stage}: QUICK=1, results are not written")
        return
    date = datetime.now(UTC).date().isoformat()
    write_results(RESULTS / f"{stage}.json", rows, machine=machine or read_machine(), date=date, commit=read_commit())
