"""A sample in ascending order, by a radix sort: numpy's sort is six times slower on some processors."""

from __future__ import annotations

from typing import Any

import numpy as np

from hubbleclip.images.compiling import compiled
from hubbleclip.images.kernels import F32, I32, U32

SIGN = U32(1 << 31)
DIGIT_BITS, NUM_DIGITS = 11, 3
NUM_VALUES = 1 << DIGIT_BITS
"""Of a digit: a processor's first cache holds as many counters."""
DIGIT = U32(NUM_VALUES - 1)


@compiled
def ascending(values: Any) -> Any:
    """The values, float32 without NaN, in ascending order; -0 before 0.

    By the lowest digit first (Knuth, The Art of Computer Programming 3, section 5.2.5): as keys their bits are in the
    order of the values once those of the negative ones are turned over.
    """
    keys, others, bits = np.empty(values.size, U32), np.empty(values.size, U32), values.view(U32)
    counts = np.zeros((NUM_DIGITS, NUM_VALUES), U32)
    for k in range(bits.size):
        key = U32(bits[k] ^ (U32(I32(bits[k]) >> I32(31)) | SIGN))
        keys[k] = key
        for digit in range(NUM_DIGITS):
            counts[digit, (key >> U32(DIGIT_BITS * digit)) & DIGIT] += U32(1)
    for digit in range(NUM_DIGITS):
        _order_by_digit(keys, U32(DIGIT_BITS * digit), counts[digit], others)
        keys, others = others, keys
    for k in range(keys.size):
        keys[k] = U32(keys[k] ^ (U32(~I32(keys[k]) >> I32(31)) | SIGN))
    return keys.view(F32)


@compiled
def _order_by_digit(keys: Any, shift: Any, counts: Any, ordered: Any) -> None:
    """Keys in the order of one of their digits, equals as they were. `counts` are used up."""
    first = U32(0)
    for value in range(counts.size):
        first, counts[value] = U32(first + counts[value]), first
    for k in range(keys.size):
        digit = (keys[k] >> shift) & DIGIT
        ordered[counts[digit]] = keys[k]
        counts[digit] += U32(1)
