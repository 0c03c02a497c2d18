"""`hubbleclip ingest` under storms of faults, killed, with a restarting server and started twice, ends as undisturbed."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import requests
from commands import Rows, until
from storms import SKY, short_storm, start, state

from tests.faulty_archive.archive import restarting_archive, running_archive
from tests.faulty_archive.faults import FAULT_INJECTORS
from tests.faulty_archive.plan import COUNTS_PATH

pytestmark = pytest.mark.slow

MAX_RUNS = 12
CALM_S = 60.0
"""Time limit of a request without faults, which a busy machine does not exceed."""
LIFETIME_S = 2.0, 8.0
"""Shortest and longest time before a kill; a whole run takes longer, so that kills hit all parts of it."""


def ingest_until_done(url: str, data: Path, timeout_s: float = 0.6) -> None:
    """Repeat the ingest until no item is pending."""
    for _ in range(MAX_RUNS):
        child = start(url, data, timeout_s)
        stderr = child.communicate(timeout=200)[1]
        assert child.returncode in {0, 2} and "Traceback" not in stderr, stderr
        if child.returncode == 0 and not state(data)[0]["attempt"]:
            return
    raise AssertionError(stderr)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, dict[str, str]]:
    data = tmp_path_factory.mktemp("calm")
    with running_archive(SKY) as url:
        ingest_until_done(url, data, CALM_S)
    rows, files = state(data)
    assert len(files) > 20
    assert all(rows[name] for name in ("observation", "product", "proposal", "listing", "watermark"))
    assert files == {row["path"]: row["sha256"] for row in rows["product"]}
    return rows, files


@pytest.mark.nightly
def test_storms_of_every_kind_of_fault_leave_the_same_state(calm: tuple[Rows, dict[str, str]], tmp_path: Path) -> None:
    """A run tries a request four times, so with four faults in a row an item needs a later run."""
    injected: Counter[str] = Counter()
    for seed in range(1, 7):
        with running_archive(SKY, short_storm(seed, max_in_a_row=3 + seed // 4)) as url:
            ingest_until_done(url, tmp_path / str(seed))
            injected.update(requests.get(url + COUNTS_PATH, timeout=10).json())
        assert state(tmp_path / str(seed)) == calm
    assert set(FAULT_INJECTORS) <= {kind for kind, num in injected.items() if num}


@pytest.mark.parametrize("seed", [11, pytest.param(12, marks=pytest.mark.nightly)])
def test_killed_at_random_moments_it_ends_with_the_same_state(
    seed: int, calm: tuple[Rows, dict[str, str]], tmp_path: Path
) -> None:
    rng = random.Random(seed)
    with running_archive(SKY, short_storm(seed)) as url:
        for _ in range(3):
            with start(url, tmp_path) as child:
                time.sleep(rng.uniform(*LIFETIME_S))
                child.send_signal(signal.SIGKILL)
                assert child.wait() in {-signal.SIGKILL, 0, 2}
        ingest_until_done(url, tmp_path)
    assert state(tmp_path) == calm


@pytest.mark.nightly
def test_a_server_that_restarts_during_a_run_changes_nothing(calm: tuple[Rows, dict[str, str]], tmp_path: Path) -> None:
    with restarting_archive(SKY, short_storm(21), waits_s=(5, 9, 9)) as archive:
        ingest_until_done(archive.url, tmp_path)
    assert archive.num_restarts
    assert state(tmp_path) == calm


def test_of_two_concurrent_runs_one_works_and_the_other_names_the_lock_holder(
    calm: tuple[Rows, dict[str, str]], tmp_path: Path
) -> None:
    lock = tmp_path / "demo" / "catalog.lock"
    with running_archive(SKY) as url:
        children = [start(url, tmp_path, CALM_S) for _ in range(2)]
        held = until(lambda: lock.exists() and lock.read_text(encoding="utf-8"), "the lock", wait_s=0.01)
        first, second = sorted(children, key=lambda child: child.pid != json.loads(held)["pid"])
        first.send_signal(signal.SIGSTOP)  # so that it still holds the lock when the other starts
        try:
            line = second.communicate(timeout=200)[1]
        finally:
            first.send_signal(signal.SIGCONT)
        stderr = first.communicate(timeout=200)[1]
        ingest_until_done(url, tmp_path, CALM_S)  # what the pause of the first has cut off
    assert (first.returncode in {0, 2}, second.returncode) == (True, 2), stderr + line
    assert line.startswith(f"hubbleclip: the catalog is being written by process {first.pid} on "), line
    assert line.count("\n") == 1
    assert state(tmp_path) == calm
