"""Attacks on processes: kills, little memory, locks, and a catalog of another person with views that never end."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import duckdb
import psutil
import pytest
from commands import command

from hubbleclip.catalog.lock import catalog_lock
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.cli.app import fail
from hubbleclip.config.settings import FlowSettings
from hubbleclip.core.errors import machine_error
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.runners import RUNNERS, open_workers
from hubbleclip.training.loop import train
from tests.attack.table import Attacks
from tests.training.squares_dataset import MODEL, TRAIN, make_dataset

pytestmark = [pytest.mark.nightly, pytest.mark.attack]
ENDLESS = "SELECT 'x' AS reason, count(*) AS num_tiles FROM range(10_000_000) a, range(10_000_000) b"


def kill_worker() -> str:
    """Kill a worker process, as the system does for a lack of memory."""
    with open_workers(RUNNERS["processes"], FlowSettings(), 2) as submit:
        submit(signal.raise_signal, signal.SIGKILL).result()
    return "ended"


def train_in(dataset_dir: str, spare_mb: int) -> str:
    """Train with some MB of address space besides what the libraries take."""
    used = psutil.Process().memory_info().vms
    resource.setrlimit(
        resource.RLIMIT_AS, (used + (spare_mb << 20), resource.RLIM_INFINITY)
    )  # until the end of the process
    try:
        train(dataset_dir, Path(dataset_dir).parent / "runs", MODEL, TRAIN, code_version="test")
    except (OSError, RuntimeError, MemoryError) as error:
        fail(str(machine_error(error) or error))
    return "trained"


def test_a_worker_that_is_killed_is_one_line(attacks: Attacks) -> None:
    outcome = attacks.call("a worker process is killed", kill_worker, deadline_s=120)
    assert "a worker process was killed, perhaps for lack of memory (the largest used " in outcome


def test_a_training_in_little_memory(tmp_path: Path, attacks: Attacks) -> None:
    arguments = (make_dataset(tmp_path), 20)
    outcome = attacks.call("a training with 20 MB of spare memory", train_in, *arguments, deadline_s=200)
    assert "hubbleclip: the memory does not suffice" in outcome


def test_a_catalog_that_another_process_writes(tmp_path: Path, attacks: Attacks) -> None:
    with catalog_lock(Layout(tmp_path / "demo")):
        ending = attacks.run("a catalog is locked", command("tiles", "--no-server", data=tmp_path), deadline_s=120)
    assert (ending.code, f"written by process {os.getpid()}" in ending.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "view", "said"),
    [("a view that never ends", ENDLESS, "took more than 120 s"), ("a view of other columns", "SELECT 1 AS x", "")],
)
def test_a_catalog_with_changed_views(name: str, view: str, said: str, tmp_path: Path, attacks: Attacks) -> None:
    layout = Layout(tmp_path / "demo")
    with writing_catalog(layout):
        pass
    with duckdb.connect(str(layout.catalog)) as catalog:
        catalog.execute(f"CREATE OR REPLACE VIEW split_count AS {view}")
    ending = attacks.run(f"a catalog with {name}", command("status", data=tmp_path), deadline_s=240)
    assert (ending.code, said in ending.err) == (2, True)
