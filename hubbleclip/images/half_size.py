"""A grey JPEG at half its size, each pixel as libjpeg makes it where it is asked for that, in half the time.

Only the ordinary file is read: baseline, one component, one scan, no restarts. Whatever else comes is left to Pillow,
which also says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.compiling import compiled
from hubbleclip.images.jpeg_blocks import SPARE_WORDS, ZIGZAG, Code, code_of, read_blocks, unstuff

I16, I32, U64 = np.int16, np.int32, np.uint64
BASELINE, HUFFMAN, QUANTA, INTERVAL, SCAN, END = 0xC0, 0xC4, 0xDB, 0xDD, 0xDA, b"\xff\xd9"
OTHER_FRAMES = frozenset(range(0xC1, 0xD0)) - {HUFFMAN}
BLOCK_PX, HALF_PX = 8, 4
CENTRE = I32(128 << 19)
MOST_MEAN = 2048
"""Eight times a block's mean is half of it at most, in a sound file."""


class Frame(NamedTuple):
    """What stands before the scan of an ordinary file, and where the scan begins."""

    height: int
    width: int
    quanta: NDArray[np.int32]
    codes: tuple[Code, Code]
    start: int


def read_half(data: bytes) -> NDArray[np.uint8] | None:
    """Levels of a grey JPEG at half its size, rounded up, the top row first; None for a file out of the ordinary, a
    damaged one among them. The caller has judged the size that it claims.
    """
    frame, end = _read_frame(data), data.rfind(END)
    if frame is None or end <= frame.start:
        return None
    scan = np.frombuffer(data, np.uint8, end - frame.start, frame.start)
    words = np.zeros(scan.size // 4 + SPARE_WORDS, np.uint32)
    num_bits = unstuff(scan, words)
    num_rows, num_columns = (-(-side // BLOCK_PX) for side in (frame.height, frame.width))
    half_yx = np.empty((HALF_PX * num_rows, HALF_PX * num_columns), np.uint8)
    is_whole = num_bits > 0 and _decode(words, U64(num_bits), frame.codes, frame.quanta, half_yx)
    return half_yx[: (frame.height + 1) // 2, : (frame.width + 1) // 2] if is_whole else None


def _read_frame(data: bytes) -> Frame | None:
    """None for a file out of the ordinary."""
    tables, quanta, frame = {}, {}, b""
    for marker, start, content in _segments(data):
        if marker == HUFFMAN:
            tables |= _tables(content)
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
    start = 2
    while data[start : start + 1] == b"\xff" and len(data) > start + 4:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        yield data[start + 1], end, data[start + 4 : end]
        start = max(end, start + 4)


def _tables(content: bytes) -> dict[int, bytes]:
    """The Huffman tables of a segment by class and name."""
    tables, at = {}, 0
    while at + 17 <= len(content):
        end = at + 17 + sum(content[at + 1 : at + 17])
        tables[content[at]] = content[at + 1 : end]
        at = end
    return tables


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
def _decode(words: Any, num_bits: Any, codes: Any, quanta: Any, half_yx: Any) -> Any:
    """Fill `half_yx`, whole blocks of it; whether the bits are as many blocks, and nothing more."""
    num_rows, num_columns = half_yx.shape[0] // HALF_PX, half_yx.shape[1] // HALF_PX
    coefficients, room = np.empty((65, num_columns), I16), np.empty((HALF_PX, BLOCK_PX, num_columns), I32)
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
        _transform(coefficients, quanta, room, half_yx[HALF_PX * row : HALF_PX * (row + 1)])
    return place <= num_bits < place + U64(8) and most * quanta[0] <= MOST_MEAN


@compiled
def _transform(coefficients: Any, quanta: Any, room: Any, half_yx: Any) -> None:
    """The inverse transform of a row of blocks to half their size, first along columns, then along rows: jidctred.c of
    libjpeg, a block beside the other, for vector instructions.
    """
    num_columns = coefficients.shape[1]
    for j in range(BLOCK_PX):
        c0, c1, c2, c3 = coefficients[j], coefficients[8 + j], coefficients[16 + j], coefficients[24 + j]
        c5, c6, c7 = coefficients[40 + j], coefficients[48 + j], coefficients[56 + j]
        q0, q1, q2, q3 = quanta[j], quanta[8 + j], quanta[16 + j], quanta[24 + j]
        q5, q6, q7 = quanta[40 + j], quanta[48 + j], quanta[56 + j]
        w0, w1, w2, w3 = room[0, j], room[1, j], room[2, j], room[3, j]
        for k in range(num_columns):
            odd = (c1[k] * q1, c3[k] * q3, c5[k] * q5, c7[k] * q7)
            near = _four((c0[k] * q0, c2[k] * q2, c6[k] * q6), odd)
            w0[k], w1[k], w2[k], w3[k] = _shifted(near, I32(1 << 11), I32(12))
    for y in range(HALF_PX):
        c0, c1, c2, c3, c5, c6, c7 = room[y, 0], room[y, 1], room[y, 2], room[y, 3], room[y, 5], room[y, 6], room[y, 7]
        levels = half_yx[y]
        for k in range(num_columns):
            near = _four((c0[k], c2[k], c6[k]), (c1[k], c3[k], c5[k], c7[k]))
            a, b, c, d = _shifted(near, I32(CENTRE + (1 << 18)), I32(19))
            levels[4 * k], levels[4 * k + 1] = _level(a), _level(b)
            levels[4 * k + 2], levels[4 * k + 3] = _level(c), _level(d)


@compiled
def _four(even: Any, odd: Any) -> Any:
    """Four samples of eight coefficients, of which the fifth has no part in them, times 2^14: Loeffler, Ligtenberg and
    Moschytz 1989 without what is beyond half the frequencies; factors are of 13 bits.
    """
    (c0, c2, c6), (c1, c3, c5, c7) = even, odd
    mean = I32(I32(c0) << I32(14))
    slope = I32(I32(I32(c2) * I32(15137)) - I32(I32(c6) * I32(6270)))
    inner = I32(I32(c1) * I32(8697)) - I32(I32(c3) * I32(17799)) + I32(I32(c5) * I32(11893)) - I32(I32(c7) * I32(1730))
    outer = I32(I32(c1) * I32(20995)) + I32(I32(c3) * I32(7373)) - I32(I32(c5) * I32(4926)) - I32(I32(c7) * I32(4176))
    high, low, inner, outer = I32(mean + slope), I32(mean - slope), I32(inner), I32(outer)
    return I32(high + outer), I32(low + inner), I32(low - inner), I32(high - outer)


@compiled
def _shifted(four: Any, half: Any, bits: Any) -> Any:
    """Four numbers without their last bits, rounded."""
    a, b, c, d = four
    return I32(a + half) >> bits, I32(b + half) >> bits, I32(c + half) >> bits, I32(d + half) >> bits


@compiled
def _level(value: Any) -> Any:
    return np.uint8(min(max(value, I32(0)), I32(255)))
