"""A sample in order, against numpy's sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hubbleclip.images.sorting import ascending

FLOATS = st.floats(width=32, allow_nan=False)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(0, 300), elements=FLOATS))
def test_any_values_are_put_in_order(values):
    given_bits = values.tobytes()
    ordered = ascending(values)
    np.testing.assert_array_equal(ordered, np.sort(values))
    assert sorted(ordered.tolist()) == sorted(values.tolist()) and values.tobytes() == given_bits


@pytest.mark.parametrize("scale", [1e-40, 1, 1e30])
def test_many_values_are_put_in_order(scale):
    values = np.random.default_rng(0).normal(0.5, 1, 100_000).astype(np.float32) * np.float32(scale)
    np.testing.assert_array_equal(ascending(values), np.sort(values))


def test_the_zero_below_stands_before_the_zero_above():
    ordered = ascending(np.array([0.0, -0.0, 1.0, -0.0, 0.0, -1.0], np.float32))
    assert np.signbit(ordered).tolist() == [True, True, True, False, False, False]
