"""Our deflate against zlib: what it packs comes back, and takes no more room than zlib's run lengths do."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from hubbleclip.images.deflate import MOST_BITS, deflate, room_for


def pack(data):
    values = np.frombuffer(data, np.uint8)
    words = room_for(values.size)
    words.view(np.uint8)[: values.size] = values
    return bytes(deflate(words, values.size))


def grainy(seed, num_bytes):
    """Bytes of some kind: noise of any width, constant, or runs of any length."""
    rng = np.random.default_rng(seed)
    values = rng.normal(40, rng.choice([0, 0.3, 4, 200]), num_bytes).clip(0, 255).astype(np.uint8)
    return np.repeat(values, rng.integers(1, rng.choice([2, 40, 600]), num_bytes))[:num_bytes].tobytes()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5_000))
def test_what_is_packed_comes_back_by_zlib_and_by_isal(seed, num_bytes):
    data = grainy(seed, num_bytes)
    packed = pack(data)
    assert zlib.decompress(packed) == data
    assert isal_zlib.decompress(packed) == data


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_come_back(data):
    assert zlib.decompress(pack(data)) == data


def test_codes_that_would_be_too_long_are_shortened():
    counts = [1, 1]
    while len(counts) < MOST_BITS + 7:
        counts.append(counts[-1] + counts[-2])
    values = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    data = np.random.default_rng(0).permutation(values).tobytes()
    assert zlib.decompress(pack(data)) == data


@pytest.mark.parametrize("sigma", [0.5, 3.0, 20.0, 90.0])
def test_it_takes_no_more_than_two_percent_over_zlibs_run_lengths(sigma):
    data = np.random.default_rng(1).normal(60, sigma, 1 << 17).clip(0, 255).astype(np.uint8).tobytes()
    by_zlib = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    assert len(pack(data)) <= 1.02 * len(by_zlib.compress(data) + by_zlib.flush())


def test_a_constant_takes_next_to_nothing():
    assert len(pack(bytes(1 << 17))) < 1200
