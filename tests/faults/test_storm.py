"""The ingest under a storm of faults ends as without faults: the same rows and files, nothing lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.table import Table
from storms import SKY, Rows, overrides, requested_counts, short_storm, state, tally

from hubbleclip.archives.http import client
from hubbleclip.config.settings import read_settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.pipeline.ingest.run import ingest
from tests.faults.hasty import HASTY
from tests.faulty_archive.archive import running_archive
from tests.faulty_archive.faults import FAULT_INJECTORS
from tests.faulty_archive.plan import FaultPlan

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("prefect")]

SEEDS = {1: 3, 2: 3, 3: 3, 4: 4, 5: 4, 6: 4}
"""Maximum number of faults in a row by seed. A run tries a request four times, so with four the item needs a later
run.
"""
MAX_RUNS = 12


@dataclass(frozen=True)
class Outcome:
    """An ingest, repeated until no item is pending."""

    rows: Rows
    files: dict[str, str]
    runs: int
    duration_s: float
    requested: list[tuple[str, str, int]]

    @property
    def state(self) -> tuple[Rows, dict[str, str]]:
        return self.rows, self.files


def ingest_until_done(plan: FaultPlan | None, data: Path) -> Outcome:
    """Repeat the ingest until a run succeeds and leaves no item pending."""
    from flows.pipeline import run_stage

    with running_archive(SKY, plan) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "LIMITS", HASTY)
        started = time.monotonic()
        for runs in range(1, MAX_RUNS + 1):
            try:
                run_stage(ingest, read_settings("demo", overrides(url, data)))
            except HubbleclipError as error:
                assert "\n" not in str(error)
                continue
            if not state(data)[0]["attempt"]:
                return Outcome(*state(data), runs, time.monotonic() - started, requested_counts(url))
    raise AssertionError(f"the ingest did not end in {MAX_RUNS} runs: {state(data)[0]['attempt']}")


@pytest.fixture(scope="module")
def calm(prefect: None, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return ingest_until_done(None, tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="module")
def storms(calm: Outcome, tables: list[Table]) -> Iterator[dict[int, Outcome]]:
    """Outcomes by seed, reported in a table at the end."""
    found: dict[int, Outcome] = {}
    yield found
    table = Table("seed", "in a row", "requests", "faulty", "runs", "calm s", "storm s", title="ingest under storms")
    for seed, outcome in found.items():
        num, num_faulty = count_requests(outcome)
        times = f"{calm.duration_s:.1f}", f"{outcome.duration_s:.1f}"
        table.add_row(*map(str, (seed, SEEDS[seed], num, f"{num_faulty / num:.0%}", outcome.runs, *times)))
    tables.append(table)


def count_requests(outcome: Outcome) -> tuple[int, int]:
    """Return the number of requests and of faulty ones."""
    injected = tally(outcome.requested)
    return injected.total(), injected.total() - injected[""]


def test_an_ingest_without_faults_leaves_rows_and_files(calm: Outcome) -> None:
    assert calm.runs == 1
    assert len(calm.files) > 20
    assert all(calm.rows[name] for name in ("observation", "product", "proposal", "listing", "watermark"))
    assert set(calm.files) == {row["path"] for row in calm.rows["product"]}
    assert all(digest in path for path, digest in calm.files.items())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_leaves_the_same_rows_and_files(
    seed: int, calm: Outcome, storms: dict[int, Outcome], tmp_path: Path
) -> None:
    storms[seed] = outcome = ingest_until_done(short_storm(seed, SEEDS[seed]), tmp_path)
    num, num_faulty = count_requests(outcome)
    assert outcome.files == calm.files
    for name, rows in calm.rows.items():
        assert outcome.rows[name] == rows, name
    assert num_faulty / num >= 0.3


def test_every_kind_of_fault_was_injected(storms: dict[int, Outcome]) -> None:
    injected = sum((tally(outcome.requested) for outcome in storms.values()), Counter[str]())
    assert set(FAULT_INJECTORS) <= {kind for kind, num in injected.items() if num}
