"""Vectors of length 1."""

import numpy as np

from hubbleclip.core.vectors import unit_vectors


def test_a_position_is_a_vector_of_length_one():
    expected = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-3 / 4, -(3**0.5) / 4, -0.5)]
    np.testing.assert_allclose(unit_vectors([0, 90, 10, 210], [0, 0, 90, -30]), expected, atol=1e-12)
