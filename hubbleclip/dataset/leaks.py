"""Search a built dataset for leaks between its splits, from the rows of its manifest alone.

The search uses the functions that also assigned the splits. It does not check tiles without corners (previews), whose
positions the manifest lacks, or proposals that continue each other by title or programme number (`continuations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hubbleclip.config.settings import SplitSettings
from hubbleclip.dataset.splits.moving_targets import designation
from hubbleclip.dataset.splits.near_duplicates import near_duplicates, shingles, similarity
from hubbleclip.dataset.splits.sky_guard import SkyPositions, find_conflicts, is_quad, sky_positions

MAX_NAMED = 10
"""Number of leaks of each kind that are named; the others are counted."""
SHARED = {"proposal": "proposal_id", "group": "group_id", "image": "png_sha256"}
"""Columns of which no value may occur in two splits, by the name that a message uses for the value."""
COMPARED = (("test", ("train", "val")), ("val", ("train",)))
"""Comparisons that cover each pair of splits once: a split, and the splits with which it is compared."""

Splits = npt.NDArray[np.object_]


def find_leaks(manifest: pa.Table, settings: SplitSettings) -> Iterator[str]:
    """Find the proposals, texts, moving targets, pieces of sky and images that several splits share.

    Yields at most `MAX_NAMED` lines per kind of leak, each with the ids of two tiles, then the number of the others. Of
    the settings, only `near_duplicate` and `guard_arcsec` are used.
    """
    splits: Splits = np.array(manifest["split"].to_pylist(), dtype=object)
    tiles = zip(splits, *(manifest[name].to_pylist() for name in ("tile_id", "proposal_id")), strict=True)
    names = [f"{split} tile {tile_id} of {proposal_id}" for split, tile_id, proposal_id in tiles]
    for what, column in SHARED.items():
        pairs = _shared(manifest[column].to_pylist(), splits)
        yield from _few((f"{names[a]} and {names[b]} have the same {what}" for a, b in pairs), len(pairs))
    yield from _text_leaks(manifest, splits, names, settings.near_duplicate)
    targets = zip(manifest["target_name"].to_pylist(), manifest["is_moving"].to_pylist(), strict=True)
    positions = sky_positions(
        [[corners] if is_quad(corners) else [] for corners in manifest["corners_deg"].to_pylist()],
        [designation(name, is_moving=is_moving) for name, is_moving in targets],
    )
    yield from _sky_leaks(positions, splits, names, settings.guard_arcsec)


def _few(lines: Iterator[str], num: int) -> Iterator[str]:
    """Yield the first `MAX_NAMED` of `num` lines about one kind of leak, then the number of the others."""
    yield from (f"leak: {line}" for line in islice(lines, MAX_NAMED))
    if num > MAX_NAMED:
        yield f"leak: {num - MAX_NAMED} more like the last one"


def _shared(values: Sequence[str], splits: Splits) -> list[tuple[int, int]]:
    """Find the values that occur in several splits, and return for each value a row in one split and one in another."""
    first: dict[str, dict[str, int]] = {}
    for row, (value, split) in enumerate(zip(values, splits, strict=True)):
        first.setdefault(value, {}).setdefault(split, row)
    rows = (list(row_of.values()) for row_of in first.values())
    return [(one, others[0]) for one, *others in rows if others]


def _text_leaks(manifest: pa.Table, splits: Splits, names: Sequence[str], threshold: float) -> Iterator[str]:
    """Find near-duplicate main captions in different splits."""
    row_of: dict[str, int] = {}  # the first row of each proposal, which has its main caption
    for row, proposal_id in enumerate(manifest["proposal_id"].to_pylist()):
        row_of.setdefault(proposal_id, row)
    captions = manifest["captions"].take(list(row_of.values())).to_pylist()
    sets = {key: words for key, texts in zip(row_of, captions, strict=True) if (words := shingles(texts[0]))}
    found = near_duplicates(sets, threshold, similarity)
    pairs = [(one, other) for one, other in found if splits[row_of[one]] != splits[row_of[other]]]
    lines = (
        f"{names[row_of[one]]} and {names[row_of[other]]} have near-duplicate captions"
        f" (similarity {similarity(sets[one], sets[other]):.2f})"
        for one, other in pairs
    )
    yield from _few(lines, len(pairs))


def _sky_leaks(positions: SkyPositions, splits: Splits, names: Sequence[str], guard_arcsec: float) -> Iterator[str]:
    """Find tiles that show the same piece of sky, or the same moving target, as a tile of another split."""
    shown: dict[str, Callable[[int], str]] = {
        "moving_target": lambda row: f"show the same moving target {positions.targets[row]}",
        "overlap": lambda _: f"overlap on the sky, or are nearer than {guard_arcsec:g} arcsec",
    }
    for split, others in COMPARED:
        theirs, mine = np.flatnonzero(splits == split), np.flatnonzero(np.isin(splits, others))
        conflicts = find_conflicts(positions, mine, theirs, guard_arcsec)
        for cause, what in shown.items():
            rows = [row for row, found in conflicts.items() if found == cause]
            # The guard finds only the tiles that conflict. The tile with which one conflicts is looked up to name it.
            pairs = ((min(find_conflicts(positions, theirs, np.array([row]), guard_arcsec)), row) for row in rows)
            yield from _few((f"{names[other]} and {names[row]} {what(row)}" for other, row in pairs), len(rows))
