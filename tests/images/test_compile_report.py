"""The compilation of loops, which takes a minute, is said."""

import logging

import pytest
from numba import njit

from hubbleclip.images.kernels import COMPILING


def test_a_compilation_is_said_once_before_it_begins_and_measured(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(COMPILING, "is_announced", False)  # other tests of this process may have compiled a loop
    COMPILING.take()
    with caplog.at_level(logging.INFO, logger="hubbleclip.images"):
        inner = njit(lambda x: x + 1)
        outer = njit(lambda x: inner(x) + 1)
        assert outer(1) == 3
        assert caplog.messages == ["compiling the loops over pixels, once per installation: about a minute"]
        assert COMPILING.take() > 0
        assert outer(2) == 4  # compiled already
        assert COMPILING.take() == 0
        assert njit(lambda x: x + 2)(1) == 3
    assert len(caplog.messages) == 1
