"""Kills of a run with worker processes: no process is left, and the next run ends as an undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from commands import SMALL, Rows, command, environment, go, read_rows
from rich.table import Table

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.server.launcher import running_simulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
SETTINGS = SMALL | {
    "tiles.size_px": 96,
    "flows.runner": "processes",
    "flows.workers": 2,
    "flows.batch_size": 2,
    "fetch.min_free_gb": 0,
}
LEFT_S = 30.0
"""Time in seconds after which no process may be left."""


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with products, and no tiles yet."""
    data = tmp_path_factory.mktemp("fetched") / "data"
    with running_simulator(SimulatorSettings(num_proposals=8, frame_px=128)) as url:
        go("ingest", data=data, settings=SETTINGS | {"archive.mast_url": url, "fetch.requests_per_s": 1000})
    return data


@pytest.fixture(scope="module")
def calm(fetched: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    data = shutil.copytree(fetched, tmp_path_factory.mktemp("calm") / "data")
    go("tiles", data=data, settings=SETTINGS)
    return read_rows(data / "demo")


def workers_of(parent: psutil.Process) -> list[psutil.Process]:
    return [one for one in parent.children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]


@pytest.mark.parametrize("num", [4, pytest.param(50, marks=pytest.mark.nightly)])
def test_a_kill_leaves_no_process_and_changes_nothing(
    num: int, fetched: Path, calm: Rows, tmp_path: Path, tables: list[Table]
) -> None:
    draw, num_early, slowest_s = random.Random(num), 0, 0.0
    for number in range(num):
        data = shutil.copytree(fetched, tmp_path / "data")
        with (tmp_path / "log").open("w") as log:
            words = command("tiles", "--no-server", data=data, settings=SETTINGS)
            process = subprocess.Popen(words, env=environment(), stderr=log)
        parent = psutil.Process(process.pid)
        while process.poll() is None and not (found := workers_of(parent)):
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 4))
        is_alive = process.poll() is None
        everyone = [parent, *parent.children(recursive=True)] if is_alive else []
        victim = parent if number % 2 else draw.choice(found)
        if is_alive and victim.is_running():
            os.kill(victim.pid, signal.SIGTERM if number % 4 == 3 else signal.SIGKILL)
        else:
            num_early += 1
        process.wait(LEFT_S + 60 * (victim is not parent))
        ended = time.monotonic()
        left = psutil.wait_procs(everyone, timeout=LEFT_S)[1]
        slowest_s = max(slowest_s, time.monotonic() - ended)
        assert not left, [one.cmdline() for one in left]
        said = (tmp_path / "log").read_text()
        assert "Traceback" not in said, said
        if victim is not parent and process.returncode:
            assert (process.returncode, "a worker process was killed" in said) == (2, True), said
        go("tiles", data=data, settings=SETTINGS)
        assert read_rows(data / "demo") == calm
        shutil.rmtree(data)
    assert num_early < num
    ends = f"no process left after {slowest_s:.1f} s, same rows each time"
    tables.append(Table(title=f"{num} kills, {num_early} of them after the end: {ends}"))
