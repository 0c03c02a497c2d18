"""Running hubbleclip as a person does: in a process of its own, on a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SMALL = {
    "archive.max_products_per_proposal": 6,
    "simulator.num_proposals": 30,
    "simulator.frame_px": 200,
    "tiles.size_px": 160,
    "tiles.min_side_px": 32,
    "flows.batch_size": 8,
    "splits.val_share": 0.2,
    "splits.test_share": 0.3,
    "train.steps": 30,
    "train.batch_size": 12,
    "train.warmup_steps": 2,
    "train.checkpoint_every": 5,
    "train.validate_every": 10,
    "train.log_every": 5,
    "evaluation.shuffled_steps": 4,
    "evaluation.bootstrap": 200,
}
SERVERS = ("flows.server", "hubbleclip.simulator")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


def command(
    *words: str, data: Path, profile: str = "demo", settings: dict | None = None, module: str = "hubbleclip.cli.app"
) -> list[str]:
    sets = [f"--set={name}={json.dumps(value)}" for name, value in (settings or {}).items()]
    return [sys.executable, "-m", module, *words, "--profile", profile, "--data", str(data), *sets]


def environment() -> dict[str, str]:
    """What a person's shell has, and a mark by which this test run knows its own processes."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "HUBBLECLIP"))}
    return plain | {"TESTED_BY": str(os.getpid())}


def run(*words: str, data: Path, timeout_s: float = 900, **named: Any) -> Outcome:
    """Run a command to its end; further arguments are those of `command`."""
    done = subprocess.run(
        command(*words, data=data, **named),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(),
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def kill_when(ready: Callable[[], bool], *words: str, data: Path, settings: dict, timeout_s: float = 600) -> None:
    """Start a command and send it SIGKILL at the first moment that `ready` holds."""
    with subprocess.Popen(
        command(*words, data=data, settings=settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert process.poll() is None, "the command ended before the moment to kill it"
            assert time.monotonic() < deadline, "the moment to kill it never came"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def servers() -> set[int]:
    """Pids of the servers that this test run's commands have started."""
    mark = f"TESTED_BY={os.getpid()}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line, variables = (
                (folder / "cmdline").read_bytes().decode(errors="replace"),
                (folder / "environ").read_bytes(),
            )
        except OSError:
            continue
        if mark in variables.split(b"\0") and any(name in line for name in SERVERS):
            found.add(int(folder.name))
    return found
