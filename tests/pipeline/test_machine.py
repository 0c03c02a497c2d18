"""A failure of the machine is never a property of an item, and what was rejected can be taken back."""

import errno
from collections.abc import Callable, Collection
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stages import product, rejection, stage_at

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import read_settings
from hubbleclip.core.errors import ImageError, MachineError, RejectedShareError, SettingsError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.pipeline.engine.attempts import Batch, retry
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.tiles.run import cutting

NAMES = "abcd"


def failing(names: Collection[str], error: Exception) -> Callable[[Product], Batch]:
    def work(item: Product) -> Batch:
        if item.obs_id in names:
            raise error
        return {}

    return work


def cut(folder: Path, work: Callable[[Product], Batch]) -> tuple[str, dict[str, int], int]:
    """Run a stage on all items: its error, the number of failures of each waiting item, and the number of rejections."""
    problem = ""
    with stage_at(folder, {"flows": {"workers": 1, "batch_size": 2, "max_rejected_share": 1}}) as stage:
        try:
            run_batches(stage, cutting(stage.settings.tiles), work, map(product, NAMES), total=len(NAMES))
        except MachineError as error:
            problem = str(error)
        rows = stage.catalog.rows("FROM attempt")
        soon = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=1)
        is_waiting = {row["entity_id"]: row["next_try_at"].replace(tzinfo=None) > soon for row in rows}
        assert all(is_waiting[row["entity_id"]] == (row["attempts"] > 1) for row in rows if row["error"] == "machine")
        num = stage.catalog.rows("SELECT count(*) AS num FROM rejection")[0]["num"]
        return problem, {row["entity_id"].removeprefix("mast:"): row["attempts"] for row in rows}, num


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, "Broken") for number in (errno.EIO, errno.ESTALE, errno.ENOSPC, errno.EROFS, errno.EMFILE)),
        MemoryError(),
    ],
)
def test_an_item_at_which_alone_the_machine_fails_twice_waits_and_the_others_go_on(
    error: Exception, tmp_path: Path
) -> None:
    problem, waiting, num = cut(tmp_path, failing("b", error))
    assert (len(problem.splitlines()), waiting, num) == (1, {"b": 1}, 0)
    assert cut(tmp_path, failing("b", error)) == ("", {"b": 2}, 0)
    assert cut(tmp_path, failing("", error)) == ("", {}, 0)


def test_a_machine_that_fails_everywhere_makes_no_item_wait(tmp_path: Path) -> None:
    for _ in range(3):
        problem, waiting, num = cut(tmp_path, failing(NAMES, OSError(errno.EIO, "Input/output error")))
        assert ("Input/output error" in problem, num, {*waiting.values()}) == (True, 0, {1})


def test_an_unexpected_failure_is_never_final(tmp_path: Path) -> None:
    outcomes = [cut(tmp_path, failing("b", ZeroDivisionError())) for _ in range(10)]
    assert outcomes == [("", {"b": num}, 0) for num in range(1, 11)]
    retry(read_settings("demo", {"data": str(tmp_path)}), ["unexpected"])
    with read_catalog(Layout(tmp_path / "demo")) as catalog:
        assert catalog.rows("FROM attempt") == []


@pytest.mark.parametrize("num_failed", [2, 3])
def test_a_stage_fails_when_more_than_a_share_of_its_items_are_rejected(num_failed: int, tmp_path: Path) -> None:
    refused = pytest.raises(RejectedShareError, match="ingest: cut-products: 3 of 4 items were rejected")
    work = failing(NAMES[:num_failed], ImageError("empty"))
    with stage_at(tmp_path, {"flows": {"max_rejected_share": 0.5}}) as stage:
        with refused if num_failed > 2 else nullcontext():
            run_batches(stage, cutting(stage.settings.tiles), work, map(product, NAMES), total=len(NAMES))
        assert stage.catalog.counts()["rejection"] == stage.rejected == num_failed


def test_rejections_are_taken_back_by_their_reason(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        rows = [("product", "a", "tiles", "unreadable"), ("product", "b", "tiles", "empty")]
        # a tile of a product with other tiles, and an observation that was listed, never become pending
        rows += [("tile", "b:1", "tiles", "empty"), ("observation", "c", "products", "covered")]
        stage.catalog.upsert({"rejection": [rejection(*row) for row in rows]})
    settings = read_settings("demo", {"data": str(tmp_path)})
    for reason in ("other", "covered"):
        with pytest.raises(SettingsError, match="give one of empty, unreadable"):
            retry(settings, [reason])
    assert retry(settings, ["empty"]) == 1
    with read_catalog(Layout(tmp_path / "demo")) as catalog:
        left = [row["entity_id"] for row in catalog.rows("FROM rejection ORDER BY entity_id")]
        assert left == ["a", "b:1", "c"]
