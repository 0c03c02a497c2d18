"""Search a dataset for leaks between its splits by brute force, from the rows of its manifest alone.

Every text, position, moving target and image of one split is compared with those of the other splits. The module shares
no code with `hubbleclip.dataset.splits`, so that a fault there does not hide itself: words, shingles, spherical
geometry and target names are computed here in another, plainer way. Only the data file `moving_bodies.toml` is common.

The thresholds are those of the dataset's settings. The check is `SLACK` more tolerant in texts and `SLACK_ARCSEC` in
positions, because the two computations differ in details such as rounding. It cannot check what the manifest does not
hold: tiles without corners (previews), and continuations that are known by title or programme number only.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.config.settings import SplitSettings

MAX_NAMED = 10
"""Number of pairs of each kind that are named; the others are counted."""
SLACK, SLACK_ARCSEC = 0.02, 0.01
HELD_OUT = (("test", ("train", "val")), ("val", ("train",)))
"""Each pair of splits once: a split, and the splits with which it is compared."""
NUM_WORDS = 5
"""Number of words of a shingle."""
MIN_SHINGLES = 10
"""Smallest number of shingles of a text that may be a near-duplicate because a longer text contains it."""
TEXTS_PER_BLOCK, TILES_PER_BLOCK, PAIRS_PER_BLOCK = 128, 512, 20_000
PRIMES = np.array([1_000_003, 998_244_353, 2_147_483_647, 67_280_421_310_721, 1], dtype=np.uint64)
"""Factors by which the hashes of the words of a shingle are combined."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]


def find_leaks(samples: pa.Table, settings: SplitSettings) -> Iterator[str]:
    """Find all pairs of samples in different splits that share a proposal, a text, a patch of sky, a
    body or an image.
    """
    for kind, column in (("proposal", "proposal_id"), ("group", "group_id"), ("image", "png_sha256")):
        yield from _few(_shared_values(samples, kind, column))
    yield from _few(_near_duplicates(samples, settings.near_duplicate))
    yield from _few(_same_bodies(samples))
    yield from _few(_overlaps(samples, settings.guard_arcsec))


def _few(leaks: Iterator[str]) -> Iterator[str]:
    """Limit the number of lines of one kind; the last line then counts the others."""
    yield from islice(leaks, MAX_NAMED)
    more = sum(1 for _ in leaks)
    if more:
        yield f"leak: {more} more pairs like the last one"


def _named(samples: pa.Table, one: int, other: int) -> str:
    """Name two tiles by their row numbers, with their splits and proposals."""
    rows = samples.select(["tile_id", "split", "proposal_id"]).take([one, other]).to_pylist()
    return " and ".join(f"{row['split']} tile {row['tile_id']} of {row['proposal_id']}" for row in rows)


def _shared_values(samples: pa.Table, kind: str, column: str) -> Iterator[str]:
    """Find values of a column that occur in several splits; the first tile of each split is named."""
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for row, (value, split) in enumerate(zip(samples[column].to_pylist(), samples["split"].to_pylist(), strict=True)):
        first[value].setdefault(split, row)
    for value, row_of in first.items():
        if len(row_of) > 1:
            yield f"leak: {_named(samples, *list(row_of.values())[:2])} have the same {kind} {value}"


# texts


def _near_duplicates(samples: pa.Table, near_duplicate: float) -> Iterator[str]:
    """Find near-duplicate main captions of proposals in different splits."""
    proposals, rows = np.unique(samples["proposal_id"].to_numpy(), return_index=True)
    chosen = samples.select(["split", "captions"]).take(rows)
    split_n = np.array(chosen["split"].to_pylist(), dtype=object)
    codes = [_shingle_codes(captions[0]) for captions in chosen["captions"].to_pylist()]
    size_n = np.array([len(part) for part in codes])
    flat, owner = np.concatenate(codes), np.repeat(np.arange(len(proposals)), size_n)
    for split, others in HELD_OUT:
        mine = np.flatnonzero(split_n == split)
        is_other_n = np.isin(split_n, others) & (size_n > 0)
        for start in range(0, len(mine), TEXTS_PER_BLOCK):
            block = mine[start : start + TEXTS_PER_BLOCK]
            shared_nb = _count_shared(flat, owner, [codes[row] for row in block], len(proposals))
            similarity_nb = _similarity(shared_nb, size_n[:, None], size_n[block][None])
            is_leak_nb = is_other_n[:, None] & (similarity_nb >= min(near_duplicate + SLACK, 1))
            for other, column in zip(*np.nonzero(is_leak_nb), strict=True):
                pair = _named(samples, rows[block[column]], rows[other])
                yield f"leak: {pair} have near-duplicate captions (similarity {similarity_nb[other, column]:.2f})"


def _shingle_codes(text: str) -> Codes:
    """Compute a 64-bit code of each distinct sequence of `NUM_WORDS` words; a shorter text is one sequence."""
    spaced = "".join(char if char.isalnum() else " " for char in unicodedata.normalize("NFKC", text).casefold())
    words = spaced.split()
    if not words:
        return np.empty(0, dtype=np.uint64)
    padded = words + [""] * (NUM_WORDS - len(words))
    code_w = np.array([zlib.crc32(word.encode()) * 2_654_435_761 + len(word) for word in padded], dtype=np.uint64)
    sequences = np.lib.stride_tricks.sliding_window_view(code_w, NUM_WORDS)
    return np.unique((sequences * PRIMES).sum(axis=1, dtype=np.uint64))  # sums and products are modulo 2^64


def _count_shared(flat: Codes, owner: Ints, block: Sequence[Codes], num_texts: int) -> Ints:
    """Count the shingles that each of all n texts shares with each text of a block; the result has shape (n, b).

    `flat` has the codes of all texts and `owner` the number of the text that each of them belongs to.
    """
    column = np.repeat(np.arange(len(block)), [len(part) for part in block])
    known, position = np.unique(np.concatenate(block), return_inverse=True)
    shared_nb = np.zeros((num_texts, len(block)), dtype=np.int64)
    if not len(known):
        return shared_nb
    has_kb = np.zeros((len(known), len(block)), dtype=np.int64)  # 1 where a text of the block has the shingle
    has_kb[position, column] = 1
    found = np.minimum(np.searchsorted(known, flat), len(known) - 1)
    hits = np.flatnonzero(known[found] == flat)
    np.add.at(shared_nb, owner[hits], has_kb[found[hits]])
    return shared_nb


def _similarity(shared: Ints, size: Ints, other_size: Ints) -> Floats:
    """Compute the larger of the shared part of both texts and, for texts that are long enough, of the shorter text."""
    smaller = np.minimum(size, other_size)
    of_both = shared / np.maximum(size + other_size - shared, 1)
    of_shorter = np.where(smaller >= MIN_SHINGLES, shared / np.maximum(smaller, 1), 0.0)
    larger: Floats = np.maximum(of_both, of_shorter)
    return larger


# moving targets


def _same_bodies(samples: pa.Table) -> Iterator[str]:
    """Find tiles in different splits that show the same moving target; one pair per body and pair of splits."""
    row_of: dict[tuple[str, str], int] = {}  # first tile of each body in each split
    columns = (samples[name].to_pylist() for name in ("is_moving", "target_name", "split"))
    for row, (is_moving, name, split) in enumerate(zip(*columns, strict=True)):
        if is_moving and name:
            row_of.setdefault((_body(name), split), row)
    for split, others in HELD_OUT:
        for other in others:
            for body in sorted(body for body, at in row_of if at == split and body and (body, other) in row_of):
                pair = _named(samples, row_of[body, split], row_of[body, other])
                yield f"leak: {pair} show the same moving target {body}"


@cache
def _known_bodies() -> dict[str, Any]:
    """Read the table of major bodies and of designations."""
    return tomllib.loads((files("hubbleclip.dataset") / "moving_bodies.toml").read_text(encoding="utf-8"))


@cache
def _body(name: str) -> str:
    """Reduce a target name to one body; equal bodies get equal texts."""
    parts = "".join(char if char.isascii() and char.isalnum() else " " for char in name.upper()).split()
    for part in parts:
        if part in _known_bodies()["major"]:
            return part
    spaced = " ".join(parts)
    code = ""
    if number := re.search(r"(?:^|\s|COMET)0*([1-9]\d{0,2}[PDI])(?!\S)", spaced):
        code = number[1]
    elif year := re.search(
        r"(?:^|\s)[ACDIPX]?\s?(1[6-9]\d\d|20\d\d)\s?([A-Z]\s?\d{1,3}|[A-Z]{2}\s?\d{0,3})(?!\S)", spaced
    ):
        code = (year[1] + year[2]).replace(" ", "")
    best, length = "", 0
    for body, others in _known_bodies()["designations"].items():
        for other in (body, *others):
            is_named = other == code if code else f" {other} " in f" {spaced} "
            if is_named and len(other) > length:
                best, length = body, len(other)
    return best or code or _unknown_body(parts)


def _unknown_body(parts: Sequence[str]) -> str:
    """Join the words of a name that is not in the table, without generic words and without a number before a name."""
    spaced = re.sub(r"\b(COMET|ASTEROID|CENTAUR|TROJAN|DWARF PLANET|MINOR PLANET|NUCLEUS)\b", " ", " ".join(parts))
    kept = spaced.split()
    if len(kept) > 1 and kept[0].isdigit() and len(kept[0]) <= 6 and re.match(r"[A-Z]{3}", kept[1]):
        kept = kept[1:]
    return "".join(kept or parts)


# positions


def _overlaps(samples: pa.Table, guard_arcsec: float) -> Iterator[str]:
    """Find tiles in different splits that overlap on the sky or are nearer than the guard distance."""
    row_n, corners_n43 = _tile_corners(samples)
    split_n = np.array(samples["split"].to_pylist(), dtype=object)[row_n]
    guard_rad = np.radians(max(guard_arcsec - SLACK_ARCSEC, 0) / 3600)
    for split, others in HELD_OUT:
        mine, theirs = np.flatnonzero(split_n == split), np.flatnonzero(np.isin(split_n, others))
        for one, other in _close_pairs(corners_n43, mine, theirs, guard_rad):
            for start in range(0, len(one), PAIRS_PER_BLOCK):
                a, b = one[start : start + PAIRS_PER_BLOCK], other[start : start + PAIRS_PER_BLOCK]
                gap_rad = _gaps(corners_n43[a], corners_n43[b])
                for index in np.flatnonzero((gap_rad < guard_rad) | (gap_rad < 0)):
                    gap_arcsec = np.degrees(max(gap_rad[index], 0)) * 3600
                    how = (
                        "overlap on the sky" if gap_rad[index] < 0 else f"are {gap_arcsec:.2f} arcsec apart on the sky"
                    )
                    yield f"leak: {_named(samples, row_n[a[index]], row_n[b[index]])} {how}"


def _tile_corners(samples: pa.Table) -> tuple[Ints, Floats]:
    """Return the row numbers (n,) of the tiles of fixed targets that have corners, and the corners as (n, 4, 3)."""
    is_fixed = pc.invert(pc.and_(samples["is_moving"], pc.is_valid(samples["target_name"])))
    has_corners = pc.equal(pc.list_value_length(samples["corners_deg"]), 8)
    rows = np.flatnonzero(pc.and_(is_fixed, has_corners).to_numpy(zero_copy_only=False))
    numbers = pc.list_flatten(samples["corners_deg"].take(rows)).to_numpy().reshape(-1, 4, 2)
    is_valid = np.isfinite(numbers).all(axis=(1, 2))
    ra, dec = np.radians(numbers[is_valid]).transpose(2, 0, 1)
    vectors: Floats = np.stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)), axis=-1)
    return rows[is_valid], vectors


def _close_pairs(corners_n43: Floats, mine: Ints, theirs: Ints, guard_rad: float) -> Iterator[tuple[Ints, Ints]]:
    """Find the pairs of tiles whose enclosing circles are nearer than the guard distance.

    Tiles are compared in blocks of similar height above the equator, each with all tiles at that height.
    """
    middle_n3 = corners_n43.sum(axis=1)
    middle_n3 /= np.linalg.norm(middle_n3, axis=1, keepdims=True)
    # chords are used in place of angles: they are larger than the angle by less than a millionth for tiles
    radius_n = np.linalg.norm(corners_n43 - middle_n3[:, None], axis=2).max(axis=1, initial=0) + guard_rad
    mine, theirs = (part[np.argsort(middle_n3[part, 2], kind="stable")] for part in (mine, theirs))
    for start in range(0, len(mine), TILES_PER_BLOCK):
        block = mine[start : start + TILES_PER_BLOCK]
        reach = radius_n[block].max() + radius_n[theirs].max(initial=0)
        low, high = middle_n3[block[[0, -1]], 2] + (-reach, reach)
        near = theirs[slice(*np.searchsorted(middle_n3[theirs, 2], (low, high)))]
        chord2_bm = 2 - 2 * middle_n3[block] @ middle_n3[near].T
        one, other = np.nonzero(chord2_bm <= (radius_n[block][:, None] + radius_n[near][None]) ** 2 + 1e-14)
        yield block[one], near[other]


def _gaps(a_k43: Floats, b_k43: Floats) -> Floats:
    """Compute the angles (k,) in radians between quadrangles on the sphere; -1 where they overlap."""
    overlap = _is_inside(_points(a_k43), b_k43) | _is_inside(_points(b_k43), a_k43) | _edges_cross(a_k43, b_k43)
    gap = np.minimum(_corner_gaps(a_k43, b_k43), _corner_gaps(b_k43, a_k43))
    return np.where(overlap, -1.0, gap)


def _points(corners_k43: Floats) -> Floats:
    """Return the corners, the middles of the edges and the middle of each quadrangle, (k, 9, 3), not of length 1."""
    middles = corners_k43 + np.roll(corners_k43, -1, axis=1)
    return np.concatenate((corners_k43, middles, corners_k43.sum(axis=1, keepdims=True)), axis=1)


def _is_inside(points_kp3: Floats, corners_k43: Floats) -> npt.NDArray[np.bool_]:
    """Determine whether any of the points is on the same side of all four edges of a convex quadrangle."""
    normals = np.cross(corners_k43, np.roll(corners_k43, -1, axis=1))
    side_kp4 = points_kp3 @ normals.transpose(0, 2, 1)
    inside: npt.NDArray[np.bool_] = np.any(np.all(side_kp4 > 0, axis=2) | np.all(side_kp4 < 0, axis=2), axis=1)
    return inside


def _edges_cross(a_k43: Floats, b_k43: Floats) -> npt.NDArray[np.bool_]:
    """Determine whether an edge of one quadrangle crosses an edge of the other.

    Two short arcs cross if the ends of each of them are on both sides of the great circle of the other.
    """
    a_next, b_next = np.roll(a_k43, -1, axis=1), np.roll(b_k43, -1, axis=1)
    a_normals, b_normals = np.cross(a_k43, a_next), np.cross(b_k43, b_next)
    b_of_a = (a_normals @ b_k43.transpose(0, 2, 1)) * (a_normals @ b_next.transpose(0, 2, 1))
    a_of_b = (a_k43 @ b_normals.transpose(0, 2, 1)) * (a_next @ b_normals.transpose(0, 2, 1))
    crossing: npt.NDArray[np.bool_] = np.any((b_of_a < 0) & (a_of_b < 0), axis=(1, 2))
    return crossing


def _corner_gaps(points_k43: Floats, corners_k43: Floats) -> Floats:
    """Compute the smallest angle between a corner of one quadrangle and an edge of the other, in radians, (k,)."""
    start, end = corners_k43[:, None], np.roll(corners_k43, -1, axis=1)[:, None]
    point = points_k43[:, :, None]
    normal = np.cross(start, end)
    length = np.maximum(np.linalg.norm(normal, axis=-1), 1e-15)
    # the foot of the point on the great circle is on the arc if it is ahead of its start and before its end
    is_beside = ((np.cross(normal, start) * point).sum(-1) > 0) & ((np.cross(normal, end) * point).sum(-1) < 0)
    to_circle = np.abs(np.arcsin(np.clip((normal * point).sum(-1) / length, -1, 1)))
    to_ends = np.minimum(np.linalg.norm(point - start, axis=-1), np.linalg.norm(point - end, axis=-1))
    gap: Floats = np.where(is_beside, to_circle, 2 * np.arcsin(np.clip(to_ends / 2, 0, 1))).min(axis=(1, 2))
    return gap
