"""What is stored with an answer."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_schema import GOOD

from hubbleclip.captions.backends.base import Reply, SourceText
from hubbleclip.captions.schema import Answer
from hubbleclip.captions.write import write_summary
from hubbleclip.core.errors import AnswerError
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


def test_the_wait_for_other_abstracts_is_no_part_of_the_time(tmp_path: Path) -> None:
    source = SourceText(abstract_sha256="ab" * 32, abstract="A spiral galaxy.")
    assert write_summary(source, Queued(), 1, Layout(tmp_path)).duration_s < WAIT_S


class Generous(Queued):
    """A backend whose server counts more tokens than a catalog can hold."""

    def ask(self, source: SourceText, count_call: Callable[[], int]) -> Reply:
        return Reply(answer=Answer.model_validate(GOOD), prompt_tokens=10**19, answer_tokens=1)


def test_an_answer_that_breaks_the_contract_is_not_kept_and_a_stored_one_is_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, layout = SourceText(abstract_sha256="ab" * 32, abstract="A spiral galaxy."), Layout(tmp_path)
    with pytest.raises(AnswerError, match="data contract"):
        write_summary(source, Generous(), 1, layout)
    good = write_summary(source, Queued(), 1, layout)
    (path,) = [path for path in tmp_path.rglob("*") if path.suffix not in {".calls", ""} and path.is_file()]
    path.write_text(path.read_text().replace('"prompt_tokens":1,', f'"prompt_tokens":{10**19},'))
    again = write_summary(source, Queued(), 1, layout)
    assert (again.summary, again.prompt_tokens, again.num_calls) == (good.summary, 1, 2)
    assert f"{path} is set aside" in caplog.text
