"""The whole ingest under a storm of faults ends as in calm weather: the same rows, the same files, nothing lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.table import Table
from storms import SKY, Rows, asked, different_ids, overrides, short_storm, state, tally

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.pipeline.ingest.run import ingest
from hubbleclip.simulator.server.fault_injection import FAULT_INJECTORS
from hubbleclip.simulator.server.fault_plan import FaultPlan
from hubbleclip.simulator.server.launcher import running_simulator

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect")]

SEEDS = {1: 3, 2: 3, 3: 3, 4: 4, 5: 4, 6: 4}
"""Most strikes in a row by seed. A run tries a request four times, so what is struck as often comes in a later run."""
MOST_RUNS = 12


@dataclass(frozen=True)
class Outcome:
    """An ingest, repeated until nothing is left to do."""

    rows: Rows
    files: dict[str, str]
    runs: int
    took_s: float
    requested: list[tuple[str, str, int]]

    @property
    def state(self) -> tuple[Rows, dict[str, str]]:
        return self.rows, self.files


def ingest_until_done(plan: FaultPlan | None, data: Path) -> Outcome:
    """Run it again until a run has failed nowhere and left nothing waiting."""
    with running_simulator(SKY, plan) as url:
        started = time.monotonic()
        for runs in range(1, MOST_RUNS + 1):
            try:
                ingest("demo", overrides(url, data))
            except HubbleclipError as error:
                assert "\n" not in str(error)
                continue
            if not state(data)[0]["attempt"]:
                return Outcome(*state(data), runs, time.monotonic() - started, asked(url))
    raise AssertionError(f"the ingest did not end in {MOST_RUNS} runs: {state(data)[0]['attempt']}")


@pytest.fixture(scope="module")
def calm(prefect: None, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return ingest_until_done(None, tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="module")
def storms(calm: Outcome, tables: list[Table]) -> Iterator[dict[int, Outcome]]:
    """Outcomes by seed, told in two tables once all are there."""
    found: dict[int, Outcome] = {}
    yield found
    tables += [fault_table(calm, found), seed_table(calm, found)]


def fault_table(calm: Outcome, found: dict[int, Outcome]) -> Table:
    injected, lost = Counter[str](), Counter[str]()
    for outcome in found.values():
        struck, cost = tally(outcome.requested, different_ids(calm.state, outcome.state))
        injected, lost = injected + struck, lost + cost
    table = Table("fault", "injected", "survived", "lost", title=f"ingest under {len(found)} storms")
    for kind in FAULT_INJECTORS:
        table.add_row(kind, *map(str, (injected[kind], injected[kind] - lost[kind], lost[kind])))
    return table


def seed_table(calm: Outcome, found: dict[int, Outcome]) -> Table:
    headings = ("seed", "in a row", "requests", "faulty", "runs", "calm s", "storm s", "ratio")
    table = Table(*headings, title=f"{len(calm.rows['observation'])} observations, {len(calm.files)} files")
    for seed, outcome in found.items():
        num, num_struck = counted(outcome)
        counts = seed, SEEDS[seed], num, f"{num_struck / num:.0%}", outcome.runs
        times = f"{calm.took_s:.1f}", f"{outcome.took_s:.1f}", f"{outcome.took_s / calm.took_s:.2f}"
        table.add_row(*map(str, counts), *times)
    return table


def counted(outcome: Outcome) -> tuple[int, int]:
    """Requests, and those that were struck."""
    injected = tally(outcome.requested, set())[0]
    return injected.total(), injected.total() - injected[""]


def test_calm_weather_leaves_something_to_lose(calm: Outcome) -> None:
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
    num, num_struck = counted(outcome)
    assert outcome.files == calm.files
    for name, rows in calm.rows.items():
        assert outcome.rows[name] == rows, name
    assert num_struck / num >= 0.3


def test_every_kind_of_fault_was_among_them(storms: dict[int, Outcome]) -> None:
    injected = sum((tally(outcome.requested, set())[0] for outcome in storms.values()), Counter[str]())
    assert set(FAULT_INJECTORS) <= {kind for kind, num in injected.items() if num}
