"""Vectors of length 1."""

import numpy as np

from hubbleclip.core.vectors import first_non_finite_row, unit, unit_vectors


def test_a_position_is_a_vector_of_length_one():
    expected = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-3 / 4, -(3**0.5) / 4, -0.5)]
    np.testing.assert_allclose(unit_vectors([0, 90, 10, 210], [0, 0, 90, -30]), expected, atol=1e-12)


def test_rows_are_scaled_to_length_one_and_zeros_stay_zeros():
    np.testing.assert_allclose(unit(np.array([[3, -4], [0, 0], [0.5, 0]])), [[0.6, -0.8], [0, 0], [1, 0]])


def test_the_first_row_that_is_not_finite_is_found():
    assert first_non_finite_row(np.array([[1, 2], [0, np.inf], [np.nan, 1]])) == 1
    assert first_non_finite_row(np.ones((3, 2))) is None
