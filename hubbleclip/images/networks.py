"""Many short lists sorted side by side, by a network of exchanges: no step depends on what the lists hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES_AT_ONCE = 16
"""Lists in an instruction: 64 bytes of float32. Compilers make two of it where a processor's vectors are shorter."""
FLOATS = ir.VectorType(ir.FloatType(), LANES_AT_ONCE)

Exchanges = list[tuple[int, int]]
"""Places to compare, and to swap where the first holds more, in order."""


def sorting_network(size: int) -> Exchanges:
    """Batcher's odd-even merge sort (1968) of `size` values."""
    pairs: Exchanges = []
    span = 1
    while span < size:
        step = span
        while step:
            for start in range(step % span, size - step, 2 * step):
                lows = range(start, min(start + step, size - step))
                pairs += [(low, low + step) for low in lows if low // (2 * span) == (low + step) // (2 * span)]
            step //= 2
        span *= 2
    return pairs


def part_of_network(pairs: Exchanges, places: Iterable[int]) -> Exchanges:
    """The exchanges on which what ends at `places` depends."""
    read, kept = set(places), []
    for pair in reversed(pairs):
        if not read.isdisjoint(pair):
            read.update(pair)
            kept.append(pair)
    return kept[::-1]


def column_sorter(size: int, pairs: Exchanges) -> Any:
    """A function of (`size`, n) float32 without NaN, in C order, and of a column: exchanges the values of that column
    and of the 15 behind it, which must be there. Compiled code alone can call it.

    As LLVM's vectors, since of a loop over `pairs` the compiler cannot know that its rows are apart, and would write
    each exchange to memory and read it again.
    """

    def _sort(typing_context: Any, rows: Any, column: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])  # type: ignore[no-untyped-call]
            width = cgutils.unpack_tuple(builder, array.shape, 2)[1]  # type: ignore[no-untyped-call]
            starts = [builder.add(arguments[1], builder.mul(width, width.type(row))) for row in range(size)]
            places = [builder.bitcast(builder.gep(array.data, [start]), FLOATS.as_pointer()) for start in starts]
            values = [builder.load(place, align=4) for place in places]
            for low, high in pairs:
                one, other = values[low], values[high]
                is_less = builder.fcmp_ordered("<", one, other)
                values[low], values[high] = builder.select(is_less, one, other), builder.select(is_less, other, one)
            for value, place in zip(values, places, strict=True):
                builder.store(value, place, align=4)
            return context.get_dummy_value()

        return types.void(rows, types.intp), generate

    return intrinsic(_sort)
