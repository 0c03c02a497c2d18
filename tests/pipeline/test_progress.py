"""What a person sees of the progress: a remaining time that is true, and an end at 100 %."""

import logging
import re
from collections import deque

import pytest

from hubbleclip.config.settings import TrainSettings
from hubbleclip.pipeline.engine.progress import Pace, Progress, duration
from hubbleclip.pipeline.train import StepReport, title_of


def test_a_pause_at_the_start_does_not_lengthen_the_estimate() -> None:
    """With the mean over all time, 77 s of compilation made 30 s of work look like 944 s."""
    pace = Pace()
    for now_s, done in ((0, 0), (77, 1), *((77 + step, 1 + step) for step in range(1, 90))):
        pace.add(done, now_s)
    assert pace.left(120) == "30 s left"
    assert pace.rate == pytest.approx(1, rel=0.02)


def test_nothing_is_estimated_before_something_is_done() -> None:
    pace = Pace()
    assert pace.left(10) == ""
    pace.add(0, 0.0)
    assert pace.left(10) == ""
    pace.add(5, 1.0)
    assert pace.left(10) == "1 s left"


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (119, "119 s"), (944, "16 min"), (9000, "2.5 h")])
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_has_the_counts_the_rate_and_the_remaining_time() -> None:
    progress = Progress(name="tiles: cut", total=100, done=80, rejected=3, waiting=2)
    progress.pace = Pace(deque([(0.0, 0), (20.0, 80)]))
    assert progress.text == "80 of 100 done, 3 rejected, 2 wait for a later run, 4.0 per second, 5 s left"


def test_a_training_that_stops_early_ends_at_100_per_cent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "hubbleclip.pipeline.train.report_live", lambda _, done, total, text: shown.append((done, total))
    )
    report = StepReport(title="train", total=100, logged=-100.0)
    with caplog.at_level(logging.INFO):
        report(10, {"loss": 1.5})
        report.logged = -100.0
        report(20, {"loss": 1.25})
    first, second = (text for name, _, text in caplog.record_tuples if name == "hubbleclip.pipeline")
    assert first == "train: step 10 of 100, loss 1.5"
    assert re.fullmatch(r"train: step 20 of 100, [\d.]+ (s|min|h) left, loss 1.25", second)
    report.end()
    assert shown == [(10, 100), (20, 100), (100, 100)]


def test_the_control_is_named_as_such() -> None:
    assert title_of(TrainSettings()) == "train"
    assert title_of(TrainSettings(shuffled=True)) == "train: control (shuffled pairs)"
