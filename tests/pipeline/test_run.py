"""One bad item never stops the rest; what would stop every other item stops the run."""

from pathlib import Path
from threading import Event

from stages import stage_at

from hubbleclip.pipeline.engine.attempts import Step
from hubbleclip.pipeline.engine.batches import map_ordered


def test_results_come_in_the_order_of_the_items_whichever_ends_first(tmp_path: Path) -> None:
    is_later_done = Event()

    def work(item: int) -> int:
        is_later_done.wait(10) if item == 0 else is_later_done.set()
        return 10 * item

    step = Step(name="work", stage="tiles", entity="product", digest="d")
    with stage_at(tmp_path) as stage:
        assert list(map_ordered(stage, step, work, range(5))) == [0, 10, 20, 30, 40]
