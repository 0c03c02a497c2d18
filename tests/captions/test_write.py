"""What is stored with an answer."""

import time
from collections.abc import Callable
from pathlib import Path

from test_schema import GOOD

from hubbleclip.captions.backends.base import Reply, SourceText
from hubbleclip.captions.schema import Answer
from hubbleclip.captions.write import count_call, write_summary
from hubbleclip.core.layout import Layout

WAIT_S = 0.3


class Queued:
    """A backend that waits for its turn, as the embedded model does."""

    is_model, version, model = True, 1, "queued"

    def prompt(self) -> str:
        return "Describe."

    def ask(self, source: SourceText, count_call: Callable[[], int]) -> Reply:
        time.sleep(WAIT_S)
        count_call()
        return Reply(answer=Answer.model_validate(GOOD), prompt_tokens=1, answer_tokens=1)


def test_requests_are_counted_over_runs(tmp_path: Path) -> None:
    assert [count_call(tmp_path / "a.calls") for _ in range(3)] == [0, 1, 2]


def test_the_wait_for_other_abstracts_is_no_part_of_the_time(tmp_path: Path) -> None:
    source = SourceText(abstract_sha256="ab" * 32, abstract="A spiral galaxy.")
    assert write_summary(source, Queued(), 1, Layout(tmp_path)).duration_s < WAIT_S
