"""A new event is later than all before it."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from hubbleclip.core.timestamps import next_time

NOW, FUTURE = datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)


def test_the_next_time_is_now_or_just_after_an_event_in_the_future(caplog: pytest.LogCaptureFixture) -> None:
    with time_machine.travel(NOW, tick=False):
        assert [next_time(newest, "run") for newest in (None, datetime(2026, 1, 2, 2))] == [NOW, NOW]
        assert not caplog.messages
        assert next_time(FUTURE, "run", timedelta(seconds=1)) == FUTURE + timedelta(seconds=1)
    assert "the newest run is dated 2999-01-01 00:00 UTC" in caplog.text
