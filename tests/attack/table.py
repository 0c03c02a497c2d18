"""Run attacks, each in a process of its own, and report each as a row of a table: attack, outcome, seconds, peak memory.

Every attack must end before its deadline, in at most `MAX_MB` of memory, and without a traceback.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import psutil
from rich.table import Table

from hubbleclip.core.errors import HubbleclipError

ROOT = Path(__file__).parents[2]
MAX_MB = 2048.0
"""Largest resident memory of a process that is attacked."""
OUTCOME_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attacked process ended. `peak_mb` is the memory of the largest one of the process and its children."""

    code: int
    out: str
    err: str
    seconds: float
    peak_mb: float

    @property
    def last_line(self) -> str:
        """The last line of the output of a process that succeeded, where errors are only log lines; else of its errors."""
        streams = (self.out, self.err) if self.code == 0 else (self.err, self.out)
        return [f"exit code {self.code}", *"\n".join(reversed(streams)).strip().splitlines()][-1]


class Attacks:
    """The attacks of a test run, as rows of a table."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def report(self, name: str, outcome: str, seconds: float, peak_mb: float) -> None:
        """Add a row to the table; for an attack that needs more than one process."""
        self.table.add_row(name, outcome[:OUTCOME_CHARS], f"{seconds:.1f}", f"{peak_mb:.0f}")
        assert peak_mb <= MAX_MB, f"{name}: {peak_mb:.0f} MB"
        assert "Traceback" not in outcome, f"{name}: {outcome}"

    def run(
        self, name: str, words: Sequence[str], *, deadline_s: float, env: Mapping[str, str] | None = None
    ) -> Ending:
        """Run a command and report the last line that it printed."""
        ending = run_bounded(words, deadline_s, env)
        is_crash = "Traceback" in ending.err or ending.code < 0
        outcome = f"Traceback or signal {ending.code}: {ending.last_line}" if is_crash else ending.last_line
        self.report(name, outcome, ending.seconds, ending.peak_mb)
        return ending

    def call(self, name: str, function: Callable[..., str], *arguments: object, deadline_s: float) -> str:
        """Call a function of a test module in a process of its own and report its result, or its error in one line.

        The arguments are sent as JSON.
        """
        module = ".".join(Path(inspect.getfile(function)).relative_to(ROOT).with_suffix("").parts)
        words = [sys.executable, "-m", "tests.attack.table", module, function.__name__]
        return self.run(name, [*words, json.dumps(arguments, default=str)], deadline_s=deadline_s).last_line


def run_bounded(words: Sequence[str], deadline_s: float, env: Mapping[str, str] | None = None) -> Ending:
    """Run a command to its end. A command that is alive at the deadline fails the test, and is killed."""
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests/flows", **(env or {})}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.monotonic()
        process = psutil.Popen(words, stdout=out, stderr=err, env=variables, cwd=ROOT, start_new_session=True)
        peak_mb = 0.0
        while process.poll() is None and time.monotonic() - started < deadline_s:
            peak_mb = max(peak_mb, peak_mb_of(process))
            time.sleep(0.05)
        seconds, is_late = time.monotonic() - started, process.poll() is None
        if is_late:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        ending = Ending(code=process.returncode, out=out.read(), err=err.read(), seconds=seconds, peak_mb=peak_mb)
        assert not is_late, f"still running after {deadline_s:g} s: {words}\n{ending.err[-2000:]}"
        return ending


def peak_mb_of(process: psutil.Process) -> float:
    """The largest resident memory so far of a process and its living children. Of a process that has ended, 0.

    The kernel's count of a process includes its parent's memory before it began its program, so `VmHWM` is read instead.
    """
    peaks = [0.0]
    with suppress(OSError, psutil.Error):
        for one in (process, *process.children(recursive=True)):
            found = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{one.pid}/status").read_text(), re.MULTILINE)
            peaks.append(int(found[1]) / 1024 if found else 0.0)
    return max(peaks)


def main(module: str, function: str, arguments: str) -> None:
    """Call a function in this process, and print its result or its error as one line."""
    try:
        outcome = getattr(import_module(module), function)(*json.loads(arguments))
    except HubbleclipError as error:
        outcome = f"{type(error).__name__}: {' '.join(str(error).split())}"
    sys.stdout.write(f"{outcome}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
