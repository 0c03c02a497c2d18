"""Running hubbleclip as a person does: in a process of its own, on a folder of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil

from hubbleclip.cli.options import Options
from hubbleclip.config.settings import Settings, read_settings

SMALL = {
    "archive.max_products_per_proposal": 6,
    "simulator.num_proposals": 20,
    "simulator.frame_px": 200,
    "tiles.size_px": 160,
    "tiles.min_side_px": 32,
    "flows.batch_size": 8,
    "splits.val_share": 0.2,
    "splits.test_share": 0.3,
    "train.steps": 4,
    "train.batch_size": 12,
    "train.warmup_steps": 2,
    "train.checkpoint_every": 2,
    "train.validate_every": 2,
    "train.log_every": 2,
    "evaluation.batch_size": 8,
    "evaluation.shuffled_steps": 0,
    "evaluation.bootstrap": 100,
}
Rows = dict[str, list[dict[str, Any]]]
SERVERS = r"flows\.server|hubbleclip\.simulator"


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


def settings_at(data: Path, **overrides: Any) -> Settings:
    """The settings of a command with the settings `SMALL`; overrides are sections."""
    sets = tuple(f"{name}={json.dumps(value)}" for name, value in SMALL.items())
    return read_settings("demo", Options(data=data, set=sets).overrides(), overrides)


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


def go(*words: str, data: Path, **named: Any) -> Outcome:
    """Run a stage to its good end, without a Prefect server."""
    outcome = run(*words, "--no-server", data=data, **named)
    assert outcome.code == 0, outcome.err
    return outcome


def status(data: Path, settings: dict) -> dict:
    return json.loads(run("status", "--json", data=data, settings=settings).out)


def ask(data: Path, sql: str, profile: str = "demo") -> list[tuple]:
    """Rows of the published catalog."""
    with duckdb.connect(str(data / profile / "catalog.duckdb"), read_only=True) as catalog:
        return catalog.execute(sql).fetchall()


def read_rows(root: Path, *unlike: str) -> Rows:
    """All rows of the published catalog by table, without times and without those tables and columns."""
    rows: Rows = {}
    with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as catalog:
        for (name,) in catalog.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall():
            columns = [
                f'"{one}"' for one in catalog.table(name).columns if not one.endswith("_at") and one not in unlike
            ]
            if name not in (*unlike, "migration"):
                query = f'SELECT {", ".join(columns)} FROM "{name}" ORDER BY ALL'
                rows[name] = catalog.sql(query).to_arrow_table().to_pylist()
    return rows


def until(
    found: Callable[[], Any],
    what: str,
    timeout_s: float = 240,
    *,
    wait_s: float = 0.2,
    process: subprocess.Popen | None = None,
) -> Any:
    """What `found` returns as soon as it is true, while a process runs."""
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert process is None or process.poll() is None, f"the command ended before {what}"
        assert time.monotonic() < deadline, f"it never came: {what}"
        time.sleep(wait_s)
    return value


def processes(mark: str, pattern: str = "") -> list[psutil.Process]:
    """Running processes with `mark`, NAME=VALUE, in their environment, by what their command line matches."""
    name, _, value = mark.partition("=")
    return [
        process
        for process in psutil.process_iter(["environ", "cmdline", "status"])
        if (process.info["environ"] or {}).get(name) == value
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and re.search(pattern, " ".join(process.info["cmdline"] or ()))
    ]


def servers() -> set[int]:
    """Pids of the servers that this test run's commands have started."""
    return {process.pid for process in processes(f"TESTED_BY={os.getpid()}", SERVERS)}


def until_ended(before: set[int]) -> None:
    """Wait until the servers of a command have ended, which they do some seconds after it."""
    until(lambda: servers() <= before, "the end of the servers", 60)


def kill_when(ready: Callable[[], bool], *words: str, data: Path, settings: dict, timeout_s: float = 600) -> None:
    """Start a command and send it SIGKILL at the first moment that `ready` holds."""
    with subprocess.Popen(
        command(*words, data=data, settings=settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        until(ready, "the moment to kill it", timeout_s, wait_s=0.02, process=process)
        process.send_signal(signal.SIGKILL)


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
