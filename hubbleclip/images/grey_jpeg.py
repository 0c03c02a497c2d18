"""A grey JPEG, whole or at half its size, each pixel of a sound file as libjpeg makes it, in half the time.

Only the ordinary file is read: baseline, one component, one scan, no restarts. Whatever else comes is left to Pillow,
which also says what is wrong with it. A damaged file that still decodes may get other levels than from libjpeg.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.compiling import compiled, inlined
from hubbleclip.images.jpeg_blocks import SPARE_WORDS, ZIGZAG, Code, code_of, read_blocks, unstuff

I16, I32, U64 = np.int16, np.int32, np.uint64
BASELINE, HUFFMAN, QUANTA, INTERVAL, SCAN = 0xC0, 0xC4, 0xDB, 0xDD, 0xDA
BEGIN, END = b"\xff\xd8", b"\xff\xd9"
WITH_LENGTH = frozenset((*range(0xC0, 0xD0), *range(0xE0, 0xF0), QUANTA, INTERVAL, SCAN, 0xFE))
OTHER_FRAMES = frozenset(range(0xC1, 0xD0)) - {HUFFMAN}
BLOCK_PX, HALF_PX = 8, 4
MIDDLE = 128
MOST_MEAN = 2048
"""Eight times a block's mean is half of it at most, in a sound file."""


class Frame(NamedTuple):
    """What stands before the scan of an ordinary file, and where the scan begins."""

    height: int
    width: int
    quanta: NDArray[np.int32]
    codes: tuple[Code, Code]
    start: int


def read_grey(data: bytes, frame: Frame, shrink: int) -> NDArray[np.uint8] | None:
    """Levels of an ordinary file at its size (`shrink` 1) or at half of it, rounded up (2), the top row first; None for
    a damaged one. The caller has judged the size that the frame claims.
    """
    end = data.rfind(END)
    if end <= frame.start:
        return None
    scan = np.frombuffer(data, np.uint8, end - frame.start, frame.start)
    words = np.zeros(scan.size // 4 + SPARE_WORDS, np.uint32)
    num_bits, side_px = unstuff(scan, words), BLOCK_PX // shrink
    num_rows, num_columns = (-(-side // BLOCK_PX) for side in (frame.height, frame.width))
    levels_yx = np.empty((side_px * num_rows, side_px * num_columns), np.uint8)
    is_whole = num_bits > 0 and _decode((words, U64(num_bits)), (frame.codes, frame.quanta), side_px, levels_yx)
    height, width = (-(-side // shrink) for side in (frame.height, frame.width))
    return levels_yx[:height, :width] if is_whole else None


def read_frame(data: bytes) -> Frame | None:
    """None for a file out of the ordinary."""
    tables, quanta, frame = dict[int, bytes](), dict[int, bytes](), b""
    for marker, start, content in _segments(data):
        if marker == HUFFMAN:
            found = _tables(content)
            if found is None:
                return None
            tables |= found
        elif marker == QUANTA:
            quanta |= {content[at]: content[at + 1 : at + 65] for at in range(0, len(content), 65)}
        elif marker == BASELINE:
            frame = content
        elif marker in OTHER_FRAMES or (marker == INTERVAL and content != b"\0\0"):
            return None
        elif marker == SCAN:
            return _frame_of(frame, content, quanta, tables, start)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, end and content of each segment up to where something else stands."""
    start = len(BEGIN) if data.startswith(BEGIN) else len(data)
    while len(data) > start + 4 and data[start] == 0xFF and data[start + 1] in WITH_LENGTH:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        yield data[start + 1], end, data[start + 4 : end]
        start = max(end, start + 4)


def _tables(content: bytes) -> dict[int, bytes] | None:
    """The Huffman tables of a segment by class and name; None where they do not fill it."""
    tables, at = {}, 0
    while at + 17 <= len(content):
        end = at + 17 + sum(content[at + 1 : at + 17])
        tables[content[at]] = content[at + 1 : end]
        at = end
    return tables if at == len(content) else None


def _frame_of(
    frame: bytes, scan: bytes, quanta: dict[int, bytes], tables: dict[int, bytes], start: int
) -> Frame | None:
    """8 bits, one component of its own size, all of its coefficients in one scan (T.81, B.2.2 and B.2.3)."""
    if len(frame) != 9 or frame[0] != 8 or frame[5] != 1 or frame[7] != 0x11:
        return None
    if len(scan) != 6 or scan[:2] != bytes((1, frame[6])) or scan[3:] != bytes((0, 63, 0)):
        return None
    of_frame = quanta.get(frame[8], b"")
    dc, ac = code_of(tables.get(scan[2] >> 4, b""), True), code_of(tables.get(0x10 | (scan[2] & 15), b""), False)
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    if dc is None or ac is None or len(of_frame) != 64 or not height * width:
        return None
    by_place = np.zeros(64, np.int32)
    by_place[ZIGZAG] = np.frombuffer(of_frame, np.uint8)
    return Frame(height, width, by_place, (dc, ac), start)


@compiled
def _decode(packed: Any, tables: Any, side_px: Any, levels_yx: Any) -> Any:
    """Fill `levels_yx`, of whole blocks; whether the bits are as many blocks, and nothing more."""
    (words, num_bits), (codes, quanta) = packed, tables
    num_rows, num_columns = levels_yx.shape[0] // side_px, levels_yx.shape[1] // side_px
    coefficients, room = np.empty((65, num_columns), I16), np.empty((64, num_columns), I32)
    place, mean, most = U64(0), 0, 0
    for row in range(num_rows):
        coefficients[:] = 0
        place = read_blocks(words, num_bits, place, codes, coefficients)
        if place == U64(0):
            return False
        for column in range(num_columns):
            mean += coefficients[0, column]
            most = max(most, abs(mean))
            coefficients[0, column] = mean
        levels = levels_yx[side_px * row : side_px * (row + 1)]
        if side_px == BLOCK_PX:
            _transform(coefficients, quanta, room, levels)
        else:
            _transform_half(coefficients, quanta, room, levels)
    return place <= num_bits < place + U64(8) and most * quanta[0] <= MOST_MEAN


@compiled
def _transform(coefficients: Any, quanta: Any, room: Any, levels_yx: Any) -> None:
    """The inverse transform of a row of blocks, first along columns, then along rows: jidctint.c of libjpeg, a block
    beside the other, for vector instructions.
    """
    for j in range(BLOCK_PX):
        c0, c1, c2, c3, c4, c5, c6, c7 = _rows(coefficients, j, BLOCK_PX)
        q0, q1, q2, q3, q4, q5, q6, q7 = _rows(quanta, j, BLOCK_PX)
        w0, w1, w2, w3, w4, w5, w6, w7 = _rows(room, j, BLOCK_PX)
        for k in range(coefficients.shape[1]):
            odd = (c1[k] * q1, c3[k] * q3, c5[k] * q5, c7[k] * q7)
            first, last = _eight((c0[k] * q0, c2[k] * q2, c4[k] * q4, c6[k] * q6), odd)
            w0[k], w1[k], w2[k], w3[k] = _rounded(first, 11)
            w7[k], w6[k], w5[k], w4[k] = _rounded(last, 11)
    for y in range(BLOCK_PX):
        c0, c1, c2, c3, c4, c5, c6, c7 = _rows(room, BLOCK_PX * y, 1)
        levels = levels_yx[y]
        for k in range(coefficients.shape[1]):
            first, last = _eight((c0[k], c2[k], c4[k], c6[k]), (c1[k], c3[k], c5[k], c7[k]))
            x = BLOCK_PX * k
            levels[x], levels[x + 1], levels[x + 2], levels[x + 3] = _levels(_rounded(first, 18))
            levels[x + 7], levels[x + 6], levels[x + 5], levels[x + 4] = _levels(_rounded(last, 18))


@compiled
def _transform_half(coefficients: Any, quanta: Any, room: Any, levels_yx: Any) -> None:
    """The same to half their size: jidctred.c."""
    for j in range(BLOCK_PX):
        c0, c1, c2, c3, _, c5, c6, c7 = _rows(coefficients, j, BLOCK_PX)
        q0, q1, q2, q3, _, q5, q6, q7 = _rows(quanta, j, BLOCK_PX)
        w0, w1, w2, w3, _, _, _, _ = _rows(room, j, BLOCK_PX)
        for k in range(coefficients.shape[1]):
            odd = (c1[k] * q1, c3[k] * q3, c5[k] * q5, c7[k] * q7)
            w0[k], w1[k], w2[k], w3[k] = _rounded(_four((c0[k] * q0, c2[k] * q2, c6[k] * q6), odd), 12)
    for y in range(HALF_PX):
        c0, c1, c2, c3, _, c5, c6, c7 = _rows(room, BLOCK_PX * y, 1)
        levels = levels_yx[y]
        for k in range(coefficients.shape[1]):
            four = _four((c0[k], c2[k], c6[k]), (c1[k], c3[k], c5[k], c7[k]))
            x = HALF_PX * k
            levels[x], levels[x + 1], levels[x + 2], levels[x + 3] = _levels(_rounded(four, 19))


@inlined
def _rows(table: Any, start: Any, step: Any) -> Any:
    """Eight rows of a table, from one on."""
    a, b, c, d = table[start], table[start + step], table[start + 2 * step], table[start + 3 * step]
    rest = start + 4 * step
    return a, b, c, d, table[rest], table[rest + step], table[rest + 2 * step], table[rest + 3 * step]


@compiled
def _eight(even: Any, odd: Any) -> Any:
    """Eight samples of eight coefficients, times 2^13: the first four in order, the others from the last one back.
    Loeffler, Ligtenberg and Moschytz 1989, figure 1; factors are of 13 bits.
    """
    (c0, c2, c4, c6), (c1, c3, c5, c7) = even, odd
    turned = I32(I32(c2 + c6) * I32(4433))
    low, high = I32(turned - I32(I32(c6) * I32(15137))), I32(turned + I32(I32(c2) * I32(6270)))
    total, rest = I32(I32(c0 + c4) << I32(13)), I32(I32(c0 - c4) << I32(13))
    e0, e1, e2, e3 = I32(total + high), I32(rest + low), I32(rest - low), I32(total - high)
    z1, z2, z3, z4 = I32(c7 + c1), I32(c5 + c3), I32(c7 + c3), I32(c5 + c1)
    z5 = I32(I32(z3 + z4) * I32(9633))
    z1, z2 = I32(z1 * I32(-7373)), I32(z2 * I32(-20995))
    z3, z4 = I32(I32(z3 * I32(-16069)) + z5), I32(I32(z4 * I32(-3196)) + z5)
    o0, o1 = I32(I32(I32(c1) * I32(12299)) + z1 + z4), I32(I32(I32(c3) * I32(25172)) + z2 + z3)
    o2, o3 = I32(I32(I32(c5) * I32(16819)) + z2 + z4), I32(I32(I32(c7) * I32(2446)) + z1 + z3)
    first = (I32(e0 + o0), I32(e1 + o1), I32(e2 + o2), I32(e3 + o3))
    return first, (I32(e0 - o0), I32(e1 - o1), I32(e2 - o2), I32(e3 - o3))


@compiled
def _four(even: Any, odd: Any) -> Any:
    """Four samples of eight coefficients, of which the fifth has no part in them, times 2^14: `_eight` without what is
    beyond half the frequencies.
    """
    (c0, c2, c6), (c1, c3, c5, c7) = even, odd
    mean = I32(I32(c0) << I32(14))
    slope = I32(I32(I32(c2) * I32(15137)) - I32(I32(c6) * I32(6270)))
    inner = I32(I32(c1) * I32(8697)) - I32(I32(c3) * I32(17799)) + I32(I32(c5) * I32(11893)) - I32(I32(c7) * I32(1730))
    outer = I32(I32(c1) * I32(20995)) + I32(I32(c3) * I32(7373)) - I32(I32(c5) * I32(4926)) - I32(I32(c7) * I32(4176))
    high, low, inner, outer = I32(mean + slope), I32(mean - slope), I32(inner), I32(outer)
    return I32(high + outer), I32(low + inner), I32(low - inner), I32(high - outer)


@compiled
def _rounded(four: Any, num_bits: Any) -> Any:
    """Four numbers without their last bits, rounded."""
    (a, b, c, d), bits, half = four, I32(num_bits), I32(1 << (num_bits - 1))
    return I32(a + half) >> bits, I32(b + half) >> bits, I32(c + half) >> bits, I32(d + half) >> bits


@compiled
def _levels(four: Any) -> Any:
    """Four samples about 0 as levels."""
    a, b, c, d = four
    return _level(a), _level(b), _level(c), _level(d)


@compiled
def _level(sample: Any) -> Any:
    return np.uint8(min(max(I32(sample + I32(MIDDLE)), I32(0)), I32(255)))
