"""Our deflate against zlib: what it packs comes back, and takes no more room than zlib's run lengths do."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from hubbleclip.images.deflate import (
    MAX_BITS,
    MAX_STEP,
    WORD_BYTES,
    _code_lengths,
    _codes,
    _used_by_count,
    deflate_squares,
)


def pack(data):
    """The stream of one row."""
    packed, [(first, end)] = deflate_squares(np.frombuffer(data, np.uint8)[None], [0], len(data))
    return packed[first:end].tobytes()


def row_of(data):
    """What `pack` packs."""
    return b"\0" + data


def grainy(seed, num_bytes):
    """Bytes of some kind: noise of any width, constant, or runs of any length."""
    rng = np.random.default_rng(seed)
    values = rng.normal(40, rng.choice([0, 0.3, 4, 200]), num_bytes).clip(0, 255).astype(np.uint8)
    return np.repeat(values, rng.integers(1, rng.choice([2, 40, 600]), num_bytes))[:num_bytes].tobytes()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5_000) | st.integers(30_000, 70_000))
def test_what_is_packed_comes_back_by_zlib_and_by_isal(seed, num_bytes):
    data = grainy(seed, num_bytes)
    packed = pack(data)
    assert zlib.decompress(packed) == row_of(data)
    assert isal_zlib.decompress(packed) == row_of(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_come_back(data):
    assert zlib.decompress(pack(data)) == row_of(data)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 255, 256, 65_535, 65_536, 1 << 24]), min_size=2, max_size=286))
def test_symbols_go_by_their_counts_and_equals_by_themselves(counts):
    expected = sorted((symbol for symbol, count in enumerate(counts) if count), key=lambda symbol: counts[symbol])
    assert _used_by_count(np.array(counts, np.int64)).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 286))
def test_codes_are_those_of_the_standard(seed, num_symbols):
    counts = np.random.default_rng(seed).exponential(50, num_symbols).astype(np.int64)
    counts[:2] = 1
    lengths = _code_lengths(counts, MAX_BITS)
    codes, code, last = _codes(lengths).tolist(), 0, 0
    for bits, symbol in sorted((bits, symbol) for symbol, bits in enumerate(lengths.tolist()) if bits):
        code, last = code << (bits - last), bits
        assert codes[symbol] == int(f"{code:0{bits}b}"[::-1], 2) | bits << 16
        code += 1


def test_codes_that_would_be_too_long_are_shortened():
    counts = [1, 1]
    while len(counts) < MAX_BITS + 7:
        counts.append(counts[-1] + counts[-2])
    values = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    data = np.random.default_rng(0).permutation(values).tobytes()
    assert zlib.decompress(pack(data)) == row_of(data)


@pytest.mark.parametrize("sigma", [0.5, 3.0, 20.0, 90.0])
def test_it_takes_no_more_than_two_percent_over_zlibs_run_lengths(sigma):
    data = np.random.default_rng(1).normal(60, sigma, 1 << 17).clip(0, 255).astype(np.uint8).tobytes()
    by_zlib = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    assert len(pack(data)) <= 1.02 * len(by_zlib.compress(row_of(data)) + by_zlib.flush())


def test_a_constant_takes_next_to_nothing():
    assert len(pack(bytes(1 << 17))) < 1200


def test_bytes_that_were_not_counted_are_packed_all_the_same():
    words = np.zeros((1 << 14, WORD_BYTES), np.uint8)
    words[1::2] = np.random.default_rng(2).integers(1, 256, words[1::2].shape)
    data = words.tobytes()[1:]  # `pack` puts a 0 before it
    assert zlib.decompress(pack(data)) == row_of(data)


def test_streams_that_take_more_room_than_what_they_hold_are_given_it():
    width, num = (1 << 18) - 1, 8
    rng, counted = np.random.default_rng(2), slice(None, None, MAX_STEP)
    words = rng.integers(20, 256, (num, 1 << 15, WORD_BYTES), np.uint8)
    words[:, counted] = rng.geometric(0.5, words[:, counted].shape).clip(0, 12)
    band = words.reshape(num, -1)[:, 1:].reshape(1, -1)
    packed, spans = deflate_squares(band, [width * square for square in range(num)], width)
    assert packed.size > 1.3 * band.size, "the first allocation was enough: the test proves nothing"
    for square, (first, end) in enumerate(spans):
        assert end - first > 1.3 * width
        assert zlib.decompress(packed[first:end].tobytes()) == row_of(band[0, width * square :][:width].tobytes())
