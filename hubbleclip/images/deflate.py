"""Deflate compression (RFC 1951) for noisy images, by one Huffman code per image and runs of one value.

Other matches are not searched, because matches in noise are accidental; zlib's strategies Z_RLE and Z_HUFFMAN_ONLY make
the same assumption. Without the search, compression to the same size takes a fraction of the time of the fastest
general library. The code uses integer arithmetic only, so that it writes the same bytes on every processor. General
libraries do not promise that, because they have different code for each processor.

"Section" in the comments means a section of RFC 1951. Pixels are processed in 64-bit words of 8 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubbleclip.images.kernels import compiled

I32, U32, U64 = np.int32, np.uint32, np.uint64
ONE, CODE_BITS, CODE_MASK, WORD_BITS, LAST_BIT = U64(1), U64(16), U64(0xFFFF), U64(64), U64(63)
FOUR, BYTE, EVERY_BYTE = U64(4), U64(0xFF), U64(0x0101010101010101)
WORD_BYTES = 8
END_OF_BLOCK, NUM_SYMBOLS = 256, 286
MAX_BITS, MAX_LENGTH_CODE_BITS = 15, 7
NUM_LENGTHS = 19
LENGTHS_ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])
"""Order in which a block header stores the lengths of the codes that encode the code lengths (section 3.2.7)."""
ZLIB_HEADER, DYNAMIC_LAST_BLOCK = U64(0x0178), U64(5)
HEADER_WORDS = 64
"""Upper bound of the size of a block header with its two Huffman codes, in 64-bit words."""
COUNTED_WORDS, MAX_STEP = 2048, 4
"""Sampling of the words of an image that are counted.

The words are sampled at a constant step of at most `MAX_STEP`, which gives at least `COUNTED_WORDS` of them.
"""
ADLER_BASE, ADLER_BYTES = 65521, 4
WEIGHTS = np.arange(4096, 0, -1, dtype=np.int16)
"""Weight of each byte of a block in the upper 16 bits of the Adler-32 checksum."""


def _matches() -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """Return the symbol, the extra bits and their number for a match of 1 to 32 words, by length (section 3.2.5)."""
    symbols, extras, nums = np.zeros(33, np.int64), np.zeros(33, np.uint64), np.zeros(33, np.int64)
    for words in range(1, 33):
        above = WORD_BYTES * words - 3
        nums[words] = max(above.bit_length() - 3, 0)
        symbols[words] = 257 + (above >> nums[words]) + 4 * nums[words]
        extras[words] = above & ((1 << int(nums[words])) - 1)
    return symbols, extras, nums


MATCH_SYMBOL, MATCH_EXTRA, MATCH_EXTRA_BITS = _matches()
MAX_MATCH_WORDS = len(MATCH_SYMBOL) - 1


def deflate_squares(
    band_yx: NDArray[np.uint8], starts_x: Sequence[int], width: int
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Compress the tiles of a row, each to a zlib stream (RFC 1950) of unfiltered PNG rows.

    Parameters
    ----------
    band_yx : uint8 (h, w)
        Levels of the image rows from which all tiles are cut. The last row is the first row of each stream.
    starts_x : sequence of int
        First column of each tile; at least one tile.
    width : int
        Width of a tile in pixels.

    Returns
    -------
    packed : uint8 (n,)
        Array that contains the streams, with unused bytes between them.
    spans : list of (first, end)
        Index in `packed` of the first byte of each stream, and of the byte after its last.

    Raises
    ------
    ValueError
        For a tile that extends beyond the band. The check is made here because compiled code does not check bounds.
    """
    if min(starts_x) < 0 or max(starts_x) + width > band_yx.shape[1]:
        raise ValueError(f"tiles of {width} px from columns {starts_x} extend beyond a band of {band_yx.shape[1]} px")
    packed, spans = _deflate_squares(np.ascontiguousarray(band_yx), np.array(starts_x, np.int64), width)
    return packed.view(np.uint8), spans.tolist()


@compiled
def _used_by_count(counts: Any) -> Any:
    """Return the symbols whose count is not 0, sorted by count, then by symbol (a stable radix sort)."""
    used, num = np.empty(counts.size, np.int64), 0
    for symbol in range(counts.size):
        used[num] = symbol
        num += counts[symbol] > 0
    symbols, ordered = used[:num], np.empty(num, np.int64)
    most, shift = counts.max(), 0  # one pass per byte of the greatest count, least significant byte first
    while most >> shift:
        starts = np.zeros(257, np.int64)
        for k in range(num):
            starts[((counts[symbols[k]] >> shift) & 255) + 1] += 1
        for byte in range(256):
            starts[byte + 1] += starts[byte]
        for k in range(num):
            byte = (counts[symbols[k]] >> shift) & 255
            ordered[starts[byte]] = symbols[k]
            starts[byte] += 1
        symbols, ordered = ordered, symbols
        shift += 8
    return symbols


@compiled
def _code_lengths(counts: Any, max_bits: Any) -> Any:
    """Return the length in bits of each symbol's Huffman code (Huffman 1952), at most `max_bits`; 0 if unused.

    Codes longer than the limit are shortened to it. Other codes are then lengthened until the code is complete again.
    """
    symbols = _used_by_count(counts)
    num = symbols.size
    weights, parents = np.empty(2 * num, np.int64), np.empty(2 * num, np.int64)
    for leaf in range(num):
        weights[leaf] = counts[symbols[leaf]]
    leaf, node = 0, num  # heads of two ascending queues: leaves without parent, and inner nodes from `num`
    for new in range(num, 2 * num - 1):
        weights[new] = 0
        for _ in range(2):  # the new node joins the two lightest nodes
            takes_leaf = leaf < num and (node == new or weights[leaf] <= weights[node])
            taken = leaf if takes_leaf else node
            leaf, node = leaf + takes_leaf, node + (not takes_leaf)
            weights[new] += weights[taken]
            parents[taken] = new
    depths, at_depth = np.zeros(2 * num, np.int64), np.zeros(max_bits + 1, np.int64)
    for node in range(2 * num - 3, -1, -1):  # from the root, whose depth is 0, towards the leaves
        depths[node] = depths[parents[node]] + 1
        at_depth[min(depths[node], max_bits)] += node < num
    _complete_code(at_depth)
    lengths = np.zeros(counts.size, np.int64)
    rank = 0  # the rarest symbols get the longest codes
    for bits in range(max_bits, 0, -1):
        for _ in range(at_depth[bits]):
            lengths[symbols[rank]] = bits
            rank += 1
    return lengths


@compiled
def _complete_code(at_depth: Any) -> None:
    """Change the number of codes of each length, in place, until the Kraft sum is one."""
    max_bits = at_depth.size - 1
    over = -(1 << max_bits)  # Kraft sum - 1, in units of 2^-max_bits
    for bits in range(1, max_bits + 1):
        over += at_depth[bits] << (max_bits - bits)
    while over > 0:
        bits = max_bits - 1
        while at_depth[bits] == 0:
            bits -= 1
        # A shorter code becomes one bit longer, and a code of the full length becomes its sibling in the tree.
        at_depth[max_bits] -= 1
        at_depth[bits] -= 1
        at_depth[bits + 1] += 2
        over -= 1


@compiled
def _codes(lengths: Any) -> Any:
    """Return the canonical code of each symbol (section 3.2.2), bit-reversed, with its length above bit `CODE_BITS`."""
    nums, firsts = np.zeros(MAX_BITS + 1, np.int64), np.zeros(MAX_BITS + 1, np.int64)
    for symbol in range(lengths.size):
        nums[lengths[symbol]] += 1
    nums[0] = 0
    for bits in range(1, MAX_BITS + 1):
        firsts[bits] = (firsts[bits - 1] + nums[bits - 1]) << 1
    codes = np.zeros(lengths.size, U64)
    for symbol in range(lengths.size):
        bits = lengths[symbol]
        if bits:
            codes[symbol] = (_reversed_bits(U64(firsts[bits])) >> (CODE_BITS - U64(bits))) | U64(bits << 16)
            firsts[bits] += 1
    return codes


@compiled
def _reversed_bits(code: Any) -> Any:
    """Return a 16-bit code with its bits reversed, because deflate stores a code's most significant bit first."""
    code = ((code >> U64(1)) & U64(0x5555)) | ((code & U64(0x5555)) << U64(1))
    code = ((code >> U64(2)) & U64(0x3333)) | ((code & U64(0x3333)) << U64(2))
    code = ((code >> U64(4)) & U64(0x0F0F)) | ((code & U64(0x0F0F)) << U64(4))
    return (code >> U64(8)) | ((code & BYTE) << U64(8))


@compiled
def _put(packed: Any, place: Any, bits: Any, num_bits: Any) -> Any:
    """Append at most 63 bits to `packed`, and return the new place.

    `place` is the index of the current 64-bit word, the bits written to that word, and the number of those bits.
    """
    word, held, num_held = place
    merged = held | (bits << num_held)
    packed[word] = merged
    total = num_held + num_bits
    over = (bits >> ONE) >> (LAST_BIT - num_held)  # shifted in two steps, because a shift by 64 is undefined
    return word + (total >> U64(6)), (over if total >= WORD_BITS else merged), total & LAST_BIT


@compiled
def _put_code(packed: Any, place: Any, code: Any) -> Any:
    """Append a code in the form that `_codes` returns, and return the new place; see `_put`."""
    return _put(packed, place, code & CODE_MASK, code >> CODE_BITS)


@compiled
def _find_runs(words: Any, num_whole: Any, runs: Any, counts: Any) -> None:
    """Set `runs` to the length in words of the match that begins at each word, or 0, and add the matches to `counts`.

    Only matches at distance 1 are searched, which repeat one byte. A word is part of such a match if each of its bytes
    equals the last byte of the previous word.
    """
    before, after, is_repeat, num_repeats = words[: num_whole - 1], words[1:num_whole], runs[1:num_whole], U32(0)
    runs[0] = 0
    for k in range(is_repeat.size):
        is_repeat[k] = after[k] == (before[k] >> U64(56)) * EVERY_BYTE
        num_repeats = U32(num_repeats + is_repeat[k])
    k = 0 if num_repeats else num_whole  # without repeats all elements of `runs` are 0 already
    while k < num_whole:
        length = 0
        while length < MAX_MATCH_WORDS and k + length < num_whole and runs[k + length]:
            length += 1
        if length:
            runs[k] = length
            counts[MATCH_SYMBOL[length]] += 1
        k += max(length, 1)


@compiled
def _count_symbols(words: Any, num_bytes: Any, runs: Any) -> Any:
    """Return an estimate of how often each symbol is used, and set `runs`; see `_find_runs`.

    In a large image only a sample of the words is counted. One is then added to the count of every byte value, because
    a value outside the sample needs a code too. The output is 0.3 % larger than with a full count, but a full count
    would take a fifth of the total time.
    """
    # Each of the 8 bytes of a word has a table of its own. With one table, equal neighbouring bytes would have to wait
    # for each other's increment of the same element.
    by_lane, data = np.zeros((WORD_BYTES, 256), U32), words.view(np.uint8)
    counts = np.zeros(NUM_SYMBOLS, np.int64)
    num_whole = num_bytes // WORD_BYTES
    _find_runs(words, num_whole, runs, counts)
    step = min(max(num_whole // COUNTED_WORDS, 1), MAX_STEP)
    for k in range(0, num_whole, step):
        if runs[k] == 0:
            for lane in range(WORD_BYTES):
                by_lane[lane, data[WORD_BYTES * k + lane]] += U32(1)
    for k in range(num_bytes - WORD_BYTES * num_whole):
        by_lane[0, data[WORD_BYTES * num_whole + k]] += U32(1)
    for value in range(256):
        counts[value] = step > 1
        for lane in range(WORD_BYTES):
            counts[value] += step * np.int64(by_lane[lane, value])
    counts[END_OF_BLOCK] = 1
    return counts


@compiled
def _put_header(packed: Any, lengths: Any) -> Any:
    """Write the headers of the zlib stream and of its only block, and return the place after them; see `_put`.

    The block header holds the code lengths of the symbols and of distance 1.
    """
    counts = np.zeros(NUM_LENGTHS, np.int64)
    counts[1] = 1
    for symbol in range(NUM_SYMBOLS):
        counts[lengths[symbol]] += 1
    of_lengths = _code_lengths(counts, MAX_LENGTH_CODE_BITS)
    codes = _codes(of_lengths)
    place = _put(packed, (U64(0), U64(0), U64(0)), ZLIB_HEADER, U64(16))
    place = _put(packed, place, DYNAMIC_LAST_BLOCK, U64(3))
    place = _put(packed, place, U64(NUM_SYMBOLS - 257), U64(5))
    place = _put(packed, place, U64(0), U64(5))
    place = _put(packed, place, U64(NUM_LENGTHS - 4), U64(4))
    for k in range(NUM_LENGTHS):
        place = _put(packed, place, U64(of_lengths[LENGTHS_ORDER[k]]), U64(3))
    for symbol in range(NUM_SYMBOLS):
        place = _put_code(packed, place, codes[lengths[symbol]])
    return _put_code(packed, place, codes[1])


@compiled
def _four_codes(codes: Any, nums_bits: Any, data: Any, first: Any) -> Any:
    """Return the concatenated codes of four bytes, at most 60 bits, and the number of bits."""
    a, b, c, d = data[first], data[first + ONE], data[first + ONE + ONE], data[first + ONE + ONE + ONE]
    num_a, num_c = U64(nums_bits[a]), U64(nums_bits[c])
    low, num_low = U64(codes[a]) | (U64(codes[b]) << num_a), num_a + U64(nums_bits[b])
    high, num_high = U64(codes[c]) | (U64(codes[d]) << num_c), num_c + U64(nums_bits[d])
    return low | (high << num_low), num_low + num_high


@compiled
def _grown(packed: Any, num_words: Any) -> Any:
    """Return the array if it has at least `num_words` elements, else a longer copy of it."""
    while packed.size < num_words:
        packed = np.concatenate((packed, np.empty_like(packed)))
    return packed


@compiled
def _deflate(words: Any, num_bytes: Any, runs: Any, packed: Any, first: Any) -> Any:
    """Compress bytes to a zlib stream, and write the stream to `packed` from its word `first`.

    Parameters
    ----------
    words : uint64 (n,)
        Bytes to compress, padded with zeros to whole words.
    num_bytes : int
        Number of bytes to compress.
    runs : uint8 (at least num_bytes / 8 + 1,)
        Scratch array.
    packed : uint64 (m,)
        Array to which the stream is written.
    first : int
        Index in `packed` of the stream's first word.

    Returns
    -------
    packed : uint64
        The given array, or a longer copy if the stream may not fit into the given one.
    num_packed : int
        Size of the stream in bytes.
    """
    num_whole = num_bytes // WORD_BYTES
    counts = _count_symbols(words, num_bytes, runs)
    lengths = _code_lengths(counts, MAX_BITS)
    packed = _grown(packed, first + num_bytes * MAX_BITS // (8 * WORD_BYTES) + HEADER_WORDS)
    stream, codes = packed[first:], _codes(lengths)
    place = _put_header(stream, lengths)
    data, bare = words.view(np.uint8), (codes & CODE_MASK).astype(np.uint16)
    nums_bits = (codes >> CODE_BITS).astype(np.uint8)
    k = 0
    while k < num_whole:
        run = runs[k]
        if run:  # the code of the length, then that of the only distance, which is a single 0 bit
            place = _put_code(stream, place, codes[MATCH_SYMBOL[run]])
            place = _put(stream, place, MATCH_EXTRA[run], U64(MATCH_EXTRA_BITS[run] + 1))
            k += run
        else:
            at = U64(8) * U64(k)
            bits, num_bits = _four_codes(bare, nums_bits, data, at)
            more, num_more = _four_codes(bare, nums_bits, data, at + FOUR)
            if num_bits + num_more < WORD_BITS:  # `_put` takes at most 63 bits
                place = _put(stream, place, bits | (more << num_bits), num_bits + num_more)
            else:
                place = _put(stream, _put(stream, place, bits, num_bits), more, num_more)
            k += 1
    for k in range(num_bytes - WORD_BYTES * num_whole):
        place = _put_code(stream, place, codes[(words[num_whole] >> U64(8 * k)) & BYTE])
    word, held, num_held = _put_code(stream, place, codes[END_OF_BLOCK])
    stream[word] = held
    num_packed = np.int64(word * U64(WORD_BYTES)) + np.int64((num_held + U64(7)) >> U64(3))
    _put_adler32(data[:num_bytes], stream.view(np.uint8)[num_packed:])
    return packed, num_packed + ADLER_BYTES


@compiled
def _put_adler32(data: Any, checksum: Any) -> None:
    """Write the Adler-32 checksum of the data (RFC 1950, section 9), summed in blocks whose sums fit into 32 bits."""
    low: Any = 1
    high: Any = 0
    for first in range(0, data.size, WEIGHTS.size):
        part = data[first : first + WEIGHTS.size]
        total: Any = I32(0)
        weighted: Any = I32(0)
        weights = WEIGHTS[WEIGHTS.size - part.size :]
        for k in range(part.size):
            total = I32(total + I32(part[k]))
            weighted = I32(weighted + I32(part[k]) * I32(weights[k]))
        high = (high + part.size * low + weighted) % ADLER_BASE
        low = (low + total) % ADLER_BASE
    checksum[0], checksum[1], checksum[2], checksum[3] = high >> 8, high & 255, low >> 8, low & 255


@compiled
def _deflate_squares(band_yx: Any, starts_x: Any, width: Any) -> Any:
    """Compiled part of `deflate_squares`; returns `packed` as uint64 and `spans` as int64 (n, 2)."""
    height = len(band_yx)
    num_bytes = height * (width + 1)
    words = np.zeros(-(-num_bytes // WORD_BYTES), U64)
    rows_yx = words.view(np.uint8)[:num_bytes].reshape(height, width + 1)
    runs = np.empty(num_bytes // WORD_BYTES + 1, np.uint8)
    packed = np.empty((len(starts_x) + 1) * (words.size + HEADER_WORDS), U64)
    spans = np.empty((len(starts_x), 2), np.int64)
    first = 0
    for square in range(len(starts_x)):
        for y in range(height):
            row, levels = rows_yx[height - 1 - y, 1:], band_yx[y, starts_x[square] :]
            for x in range(width):
                row[x] = levels[x]
        packed, size = _deflate(words, num_bytes, runs, packed, first)
        spans[square, 0], spans[square, 1] = WORD_BYTES * first, WORD_BYTES * first + size
        first += -(-size // WORD_BYTES)
    return packed, spans
