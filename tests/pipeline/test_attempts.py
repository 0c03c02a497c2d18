"""A failed item waits, each time longer, and is given up at last."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stages import NOW, rejection, stage_at

from hubbleclip.core.records import Attempt, to_row
from hubbleclip.pipeline.engine.attempts import MAX_RUNS, write_with_retries

FAILURE = rejection("product", "p", "fetch")


def fail(folder: Path, num: int, retry_hours: float, reason: str = "reason {}") -> list[dict[str, list[Any]]]:
    """Let an item fail `num` times, and return the rows of the failed items after each failure."""
    found = []
    with stage_at(folder, {"fetch": {"retry_hours": retry_hours}}) as stage:
        for number in range(num):
            write_with_retries(stage, {"failure": [replace(FAILURE, reason=reason.format(number))]})
            found.append({name: stage.catalog.rows(f"FROM {name}") for name in ("attempt", "rejection")})
    return found


def test_the_wait_doubles_with_each_failure_until_the_item_is_given_up(tmp_path: Path) -> None:
    *before, last = fail(tmp_path, MAX_RUNS, retry_hours=6)
    (waiting,) = zip(*(one["attempt"] for one in before), strict=True)
    assert [(row["next_try_at"] - row["last_at"]) / timedelta(hours=1) for row in waiting] == [
        *(6, 12, 24, 48, 96, 192, 384)
    ]
    assert [one["rejection"] for one in before] == [[]] * (MAX_RUNS - 1)
    assert last["attempt"] == []
    assert last["rejection"] == [to_row(replace(FAILURE, reason="reason 7", rejected_at=NOW.replace(tzinfo=None)))]
    assert {row["first_at"] for row in waiting} == {waiting[0]["last_at"]}
    times = {name: waiting[2][name] for name in ("first_at", "last_at", "next_try_at")}
    failed = {"entity": "product", "entity_id": "p", "stage": "fetch", "error": "reason 2", "detail": "why"}
    assert waiting[2] == to_row(Attempt(**failed, attempts=3, **times))


@pytest.mark.parametrize(("retry_hours", "reason"), [(0, "unexpected"), (1e6, "unanswered"), (6, "machine")])
def test_the_wait_never_exceeds_a_month_and_some_items_are_never_given_up(
    retry_hours: float, reason: str, tmp_path: Path
) -> None:
    found = fail(tmp_path, MAX_RUNS + 3, retry_hours, reason)
    waits = [(row["next_try_at"] - row["last_at"]) / timedelta(days=1) for one in found for row in one["attempt"]]
    assert all(one["rejection"] == [] for one in found)
    assert (min(waits), max(waits)) == {"unexpected": (0, 0), "unanswered": (30, 30), "machine": (0, 30)}[reason]
