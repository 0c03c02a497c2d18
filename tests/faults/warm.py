"""A process that has loaded the libraries and runs each command in a fork of itself, which takes no time to start.

`python -m tests.faults.warm` reads lines of JSON, `[words, environment, file of the output]`, and writes exit codes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import environment

from hubbleclip.cli.app import main
from hubbleclip.cli.running import STAGES


def build_library(folder: Path) -> Path:
    """Build the library that makes calls fail; skipped without a C compiler."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None)
    if compiler is None:
        pytest.skip("no C compiler (gcc, cc or clang) is installed to build the library of disk faults")
    source, path = Path(__file__).with_name("faulty_disk.c"), folder / "faulty_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(path), str(source), "-ldl"], check=True)
    return path


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    err: str


class Warm:
    """The process, for its parent."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log

    def run(self, words: Sequence[str], **variables: str) -> Ended:
        """Run a command with further variables of the environment."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([words, variables, str(self.log)]) + "\n")
        self.process.stdin.flush()
        return Ended(int(self.process.stdout.readline()), self.log.read_text())


@contextmanager
def warm(log: Path, **variables: str) -> Iterator[Warm]:
    """Start the process for a `with` block; the output of the last command is in `log`."""
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.warm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment() | {"PYTHONPATH": path} | variables,
    ) as process:
        yield Warm(process, log)
        process.stdin.close()


def run_forked(words: Sequence[str], variables: dict[str, str], log: str) -> int:
    """Run a command in a fork of this process."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(variables)
    main(words)
    sys.exit()


if __name__ == "__main__":
    stages = [f"pipeline.{stage.partition(':')[0]}" for names in STAGES.values() for stage in names]
    for module in (*stages, "dataset.publish", "dataset.verify", "captions.backends.rules"):
        import_module(f"hubbleclip.{module}")
    import_module("pandas")
    for line in sys.stdin:
        sys.stdout.write(f"{run_forked(*json.loads(line))}\n")
        sys.stdout.flush()
