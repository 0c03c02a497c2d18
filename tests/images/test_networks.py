"""Short lists sorted side by side, against numpy's sort."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hubbleclip.images.compiling import compiled
from hubbleclip.images.networks import LANES_AT_ONCE, column_sorter, part_of_network, sorting_network

SIZE = 9
NETWORK = sorting_network(SIZE)
MIDDLE = part_of_network(NETWORK, [SIZE // 2])
sort_all, sort_middle = column_sorter(SIZE, NETWORK), column_sorter(SIZE, MIDDLE)


@compiled
def sort_columns(rows, first):
    sort_all(rows, first)


@compiled
def find_medians(rows, first):
    sort_middle(rows, first)


@pytest.mark.parametrize("size", range(1, 11))
def test_a_network_sorts_all_zeros_and_ones_and_thus_all_lists(size):
    """By the principle of zeros and ones: Knuth, The Art of Computer Programming 3, section 5.3.4."""
    for values in product((0, 1), repeat=size):
        ordered = list(values)
        for low, high in sorting_network(size):
            ordered[low], ordered[high] = min(ordered[low], ordered[high]), max(ordered[low], ordered[high])
        assert ordered == sorted(values)


@pytest.mark.parametrize("width, first", [(LANES_AT_ONCE, 0), (50, 3), (50, 50 - LANES_AT_ONCE)])
def test_columns_are_sorted_and_those_beside_them_left(width, first):
    rows = np.random.default_rng(width).normal(size=(SIZE, width)).astype(np.float32)
    rows[::2, ::3] = np.inf
    expected, chosen = rows.copy(), slice(first, first + LANES_AT_ONCE)
    expected[:, chosen] = np.sort(rows[:, chosen], axis=0)
    sort_columns(rows, first)
    np.testing.assert_array_equal(rows, expected)


def test_a_part_of_a_network_finds_what_it_is_for_in_fewer_exchanges():
    rows = np.random.default_rng(1).normal(size=(SIZE, LANES_AT_ONCE)).astype(np.float32)
    medians = np.median(rows, axis=0)
    find_medians(rows, 0)
    np.testing.assert_array_equal(rows[SIZE // 2], medians)
    assert len(MIDDLE) < len(NETWORK)
