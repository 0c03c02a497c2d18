"""The coefficients of a baseline JPEG of one component (ITU T.81, annex F), two to a look-up.

A Huffman code is read bit after bit, each symbol where the last one ended: the time goes into that chain. So a table
tells for the next 11 bits what the first two symbols are, their values with them, and the chain is half as long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.compiling import compiled

I16, I64, U32, U64 = np.int16, np.int64, np.uint32, np.uint64
LOOK_BITS = 11
NUM_LOOKS = 1 << LOOK_BITS
LOOK_SHIFT, HALF_BITS, WORD_MASK = U64(64 - LOOK_BITS), U64(32), U64(31)
LOOKS_A_PEEK, LOOKS_AFTER_DC = 5, 3
"""How many look-ups 64 bits are enough for; a first coefficient may take 27 of them."""
LONGEST_CODE, LONGEST_DC, LONGEST_AC = 16, 11, 10
"""Bits of a code; bits of a value behind it, in 8-bit pictures."""
BLOCK, LAST = 64, U64(63)
ENDED = 128
"""Added to the place in a block at its end: more than any run can reach."""
ZERO_RUN = 15
SPARE_WORDS = 64
"""Behind the packed bits: a block takes at most 1,665 of them, so that none is read that is not there."""
BYTE = U64(0xFF)
LENGTH_1, ADVANCE_1, ADVANCE_2, VALUE_1, VALUE_2 = (U64(shift) for shift in (8, 16, 24, 32, 48))
"""Where the parts of a look-up stand, above the length of both symbols."""

ZIGZAG = np.array(
    [place for line in range(15) for place in sorted(
        (8 * y + line - y for y in range(max(0, line - 7), min(line, 7) + 1)), reverse=line % 2 == 0)], np.int64,
)  # fmt: skip
"""Places of a block (8 * row + column) in the order of the file."""
PLACES = np.concatenate([ZIGZAG, np.full(ENDED, BLOCK)]).astype(np.uint64)
"""The same, and for all that lies beyond a place that nobody reads."""


class Code(NamedTuple):
    """A Huffman code: how many codes of each length, their symbols in order, and the table of the next bits."""

    counts: NDArray[np.int64]
    symbols: NDArray[np.int64]
    looks: NDArray[Any]


@lru_cache(maxsize=64)
def code_of(table: bytes, is_dc: bool) -> Code | None:
    """The code of a table as a file has it: 16 counts, then the symbols; None for one that is no code."""
    counts, symbols = (np.frombuffer(part, np.uint8).astype(np.int64) for part in (table[:16], table[16:]))
    if counts.size != LONGEST_CODE or counts.sum() != symbols.size or (is_dc and (symbols > 15).any()):
        return None
    if (counts << np.arange(LONGEST_CODE - 1, -1, -1)).sum() > 1 << LONGEST_CODE:
        return None
    singles = _singles(counts, symbols, is_dc)
    return Code(counts, symbols, singles if is_dc else _pairs(singles))


@compiled
def _value(bits: Any, size: Any) -> Any:
    """A value by its bits (T.81, F.2.2.1): those that begin with 0 are negative."""
    return bits - (1 << size) + 1 if size and bits >> (size - 1) == 0 else bits


@compiled
def _advance(symbol: Any) -> Any:
    """How far a symbol of the coefficients after the first goes."""
    return ENDED if symbol & 15 == 0 and symbol >> 4 != ZERO_RUN else (symbol >> 4) + 1


@compiled
def _singles(counts: Any, symbols: Any, is_dc: Any) -> Any:
    """For each next bits the one symbol with its value: its bits, how far it goes above 8, the value above 32; 0 where
    they are too few.
    """
    looks = np.zeros(NUM_LOOKS, I64)
    code = first = 0
    for bits in range(1, LOOK_BITS + 1):
        for symbol in symbols[first : first + counts[bits - 1]]:
            size = symbol if is_dc else symbol & 15
            free = LOOK_BITS - bits - size
            advance = 0 if is_dc else _advance(symbol)
            for low in range(1 << size if free >= 0 else 0):
                start = ((code << size) | low) << free
                looks[start : start + (1 << free)] = bits + size + (advance << 8) + (_value(low, size) << 32)
            code += 1
        first += counts[bits - 1]
        code <<= 1
    return looks


@compiled
def _pairs(singles: Any) -> Any:
    """For each next bits the first symbol and the one behind it, where that is of the same block and told by them too;
    else the first alone, its value twice.
    """
    looks = np.zeros(NUM_LOOKS, U64)
    for at in range(NUM_LOOKS):
        one = singles[at]
        length, advance, value = one & 255, (one >> 8) & 255, one >> 32
        other = singles[(at << length) & (NUM_LOOKS - 1)] if length and advance < ENDED else I64(0)
        both = length + (other & 255)
        if other == 0 or both > LOOK_BITS:
            both, other = length, value << 32
        values = ((value & 0xFFFF) << 32) | ((other >> 32) << 48)
        looks[at] = U64(both | (length << 8) | (advance << 16) | (((other >> 8) & 255) << 24) | values)
    return looks


@compiled
def unstuff(scan: Any, words: Any) -> Any:
    """Write the bits of a scan as words, first bit highest, without the zero behind each 255. Returns their number, or
    -1 where another byte stands there: a marker. `words` must have room for the scan.
    """
    data, num_bytes, num_full, last = words.view(np.uint8), 0, 0, np.uint8(0)
    for k in range(scan.size):
        byte = scan[k]
        data[U64(num_bytes)] = byte
        num_bytes += 1 - ((byte == 0) & (last == 255))
        last = byte
    for k in range(scan.size):
        num_full += scan[k] == 255
    for k in range(words.size):
        word = words[k]
        middle = ((word >> U32(8)) & U32(0xFF00)) | ((word & U32(0xFF00)) << U32(8))
        words[k] = U32((word >> U32(24)) | middle | (word << U32(24)))
    return 8 * num_bytes if num_bytes + num_full == scan.size else -1


@compiled
def _peek(words: Any, place: Any) -> Any:
    """The next 64 bits."""
    k, past = place >> U64(5), place & WORD_MASK
    high = (U64(words[k]) << HALF_BITS) | U64(words[k + U64(1)])
    return (high << past) | (U64(words[k + U64(2)]) >> (HALF_BITS - past))


@compiled
def _one(bits: Any, code: Any, longest: Any) -> Any:
    """The next symbol, however long, with its value (T.81, F.2.2.3): how many bits both take, 0 for none, the symbol,
    the value.
    """
    counts, symbols, _ = code
    first = passed = 0
    for length in range(1, LONGEST_CODE + 1):
        rank = I64(bits >> U64(64 - length)) - first
        if rank < counts[length - 1]:
            symbol = symbols[passed + rank]
            size = symbol if longest == LONGEST_DC else symbol & 15
            if size > longest:
                break
            rest = I64((bits << U64(length)) >> U64(64 - size)) if size else 0
            return length + size, symbol, _value(rest, size)
        passed += counts[length - 1]
        first = (first + counts[length - 1]) << 1
    return 0, 0, 0


@compiled
def read_blocks(words: Any, num_bits: Any, place: Any, codes: Any, coefficients: Any) -> Any:
    """Fill `coefficients` (65, number of blocks), all 0, with the next blocks' from a place in the bits on; its last
    row is scrap, and its first holds differences. Returns the place behind them; 0 where the bits are no such blocks.

    Behind the bits `SPARE_WORDS` must lie.
    """
    (dc, ac), looks, place = codes, codes[1][2], U64(place)
    for block in range(coefficients.shape[1]):
        if place >= num_bits:
            return U64(0)
        bits = _peek(words, place)
        told = dc[2][bits >> LOOK_SHIFT]
        length, coefficients[0, block] = U64(told & 255), told >> 32
        if told == 0:
            num, _, coefficients[0, block] = _one(bits, dc, LONGEST_DC)
            length = U64(num)
        place, bits = place + length, bits << length
        at, left = U64(0) if length else U64(ENDED - 1), LOOKS_AFTER_DC
        while at < LAST:
            both = looks[bits >> LOOK_SHIFT]
            if both == U64(0):
                num, symbol, value = _one(_peek(words, place), ac, LONGEST_AC)
                if num == 0:
                    return U64(0)
                at += U64(_advance(symbol))
                coefficients[PLACES[at], block] = value
                place += U64(num)
                bits, left = _peek(words, place), LOOKS_A_PEEK
                continue
            at += (both >> ADVANCE_1) & BYTE
            coefficients[PLACES[at], block] = I16(both >> VALUE_1)
            if at >= LAST:
                place += (both >> LENGTH_1) & BYTE
                break
            at += (both >> ADVANCE_2) & BYTE
            coefficients[PLACES[at], block] = I16(both >> VALUE_2)
            length = both & BYTE
            place, bits, left = place + length, bits << length, left - 1
            if left == 0:
                bits, left = _peek(words, place), LOOKS_A_PEEK
        if LAST < at < U64(ENDED):
            return U64(0)
    return place
