"""One bad item never stops the rest; what would stop every other item stops the run."""

import errno
from pathlib import Path
from threading import Event

import pytest
from stages import rejection, stage_at

from hubbleclip.core.errors import ArchiveDownError, DownloadError, HubbleclipError, ImageError, SettingsError
from hubbleclip.core.records import Rejection
from hubbleclip.pipeline.engine.attempts import Step, attempt
from hubbleclip.pipeline.engine.batches import map_ordered, num_counted


def failing(error: Exception) -> object:
    def work() -> None:
        raise error

    return attempt(Step(name="cut-products", entity="product", stage="tiles", digest="d"), "p", work)


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (ImageError("all_invalid", "no pixel is valid"), "all_invalid", "no pixel is valid"),
        (DownloadError("html", "a web page came"), "html", "a web page came"),
        (ZeroDivisionError("by zero"), "unexpected", "ZeroDivisionError: by zero"),
        (PermissionError(errno.EACCES, "not yours"), "unexpected", "PermissionError: [Errno 13] not yours"),
    ],
)
def test_an_item_that_fails_becomes_a_rejection(error: Exception, reason: str, detail: str) -> None:
    found = failing(error)
    assert isinstance(found, Rejection)
    assert (found.entity_id, found.stage, found.reason, found.detail) == ("p", "tiles", reason, detail)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ArchiveDownError("no host"), "no host"),
        (SettingsError("proposals.jsonl, line 3: not JSON"), "line 3"),
        (OSError(errno.ENOSPC, "No space left on device"), "make room or set --data or --out"),
    ],
)
def test_what_would_stop_every_item_stops_the_run_and_says_so(error: Exception, message: str) -> None:
    with pytest.raises(HubbleclipError, match=message):
        failing(error)


def test_tiles_that_are_left_out_are_no_items_of_their_stage() -> None:
    left_out = [rejection("tile", f"t{k}", "tiles", "no_signal") for k in range(5)]
    assert num_counted([*left_out, rejection("product", "p", "tiles", "unreadable")]) == 1


def test_results_come_in_the_order_of_the_items_whichever_ends_first(tmp_path: Path) -> None:
    is_later_done = Event()

    def work(item: int) -> int:
        is_later_done.wait(10) if item == 0 else is_later_done.set()
        return 10 * item

    step = Step(name="work", stage="tiles", entity="product", digest="d")
    with stage_at(tmp_path) as stage:
        assert list(map_ordered(stage, step, work, range(5))) == [0, 10, 20, 30, 40]
