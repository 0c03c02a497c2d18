"""Split schemes that hold out instruments, cycles, or the programmes of the frozen benchmark.

A dataset with such a split is built on request; the catalog always contains the random split. A scheme decides for each
tile whether it is held out for test. The rules are:

1. A group that contains a held-out tile is a test group. The other tiles of the group are excluded, so that test
   contains only held-out tiles and train contains no tile that is related to a held-out tile.
2. A hash assigns every other group to val or to train.
3. A tile whose instrument, cycle or programme number is unknown is excluded.
4. Existing assignments do not change, unless a later text links two proposals (`late_linked`). If a group is now in
   another split than the existing tiles of the group, the new tiles of the group are excluded.
5. Finally, the sky guard excludes train tiles that overlap a val or test tile, and val tiles that overlap a test tile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import SplitAssignment, Tile
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.near_duplicates import group_id, group_proposals
from hubbleclip.dataset.splits.sky_guard import EXCLUDED

MIXED_GROUP = "scheme:spans"
"""Exclusion reason of a tile that is not held out, but whose group contains held-out tiles."""
UNKNOWN = "scheme:unknown"
"""Exclusion reason of a tile whose instrument, cycle or programme number is unknown."""
GROUP_CHANGED = "scheme:group_changed"
"""Exclusion reason of a new tile whose group is now in another split than the group's existing tiles."""
BENCHMARK = "hubble-image-text-1"
"""Name of the frozen benchmark, and salt of the hash that selects its programmes. A new selection needs a new name."""
BENCHMARK_SHARE = 0.1
"""Share of all programmes that belong to the frozen benchmark."""

Scheme = Callable[[Material, Tile, SplitSettings], bool | None]
"""Function that returns whether a tile is held out for test, or None if a property that the scheme needs is unknown."""


def by_instrument(material: Material, tile: Tile, settings: SplitSettings) -> bool | None:
    """Hold out the tiles of the instruments that match `test_instruments`; case is ignored."""
    name = (material.instrument_of(tile) or "").upper()
    return any(fnmatchcase(name, pattern.upper()) for pattern in settings.test_instruments) if name else None


def by_cycle(material: Material, tile: Tile, settings: SplitSettings) -> bool | None:
    """Hold out the tiles of proposals from the cycle `test_from_cycle` or a later cycle."""
    proposal = material.proposals.get(tile.proposal_id)
    return None if proposal is None or proposal.cycle is None else proposal.cycle >= settings.test_from_cycle


def is_benchmark_program(number: str) -> bool:
    """Return whether a programme belongs to the frozen benchmark; see `hubbleclip/evaluation/benchmarks/README.md`."""
    # This rule must never change. A hash needs no list of programmes, so the rule also applies to future programmes.
    return unit_hash(f"{BENCHMARK}:{number}") < BENCHMARK_SHARE


def program_number(proposal_id: str) -> str | None:
    """Return the programme number of a proposal without leading zeros; None if the archive gave no number."""
    number = proposal_id.rpartition(":")[2]
    return str(int(number)) if number.isascii() and number.isdigit() else None


def by_benchmark(material: Material, tile: Tile, settings: SplitSettings) -> bool | None:
    """Hold out the tiles of the programmes of the frozen benchmark."""
    number = program_number(tile.proposal_id)
    return None if number is None else is_benchmark_program(number)


SCHEMES: Mapping[str, Scheme] = {"instrument": by_instrument, "cycle": by_cycle, "benchmark": by_benchmark}
RANDOM = "random"


def plan_scheme(
    material: Material, existing: Mapping[str, SplitAssignment], settings: SplitSettings, by_text: Sequence[Link]
) -> list[SplitAssignment]:
    """Assign every tile to a split according to the scheme in the settings; the sky guard is applied later."""
    if settings.scheme not in SCHEMES:
        known = ", ".join(SCHEMES)
        raise SettingsError(f"unknown split scheme {settings.scheme!r}: set splits.scheme to {RANDOM}, {known}")
    tiles, scheme = material.tiles, SCHEMES[settings.scheme]
    roots = group_proposals({tile.proposal_id for tile in tiles} | material.proposals.keys(), by_text)
    is_test = {tile.tile_id: scheme(material, tile, settings) for tile in tiles}
    held_out = {roots[tile.proposal_id] for tile in tiles if is_test[tile.tile_id]}
    splits_of_root: dict[str, set[str]] = defaultdict(set)  # splits of existing tiles, by root of the group
    for tile in tiles:
        if tile.tile_id in existing:
            splits_of_root[roots[tile.proposal_id]].add(existing[tile.tile_id].split)

    def plan(tile: Tile) -> SplitAssignment:
        root = roots[tile.proposal_id]
        group, reason = group_id(root), ""
        # The text ":val:" makes the hash independent of the hash that the random scheme uses.
        drawn = "val" if unit_hash(f"{settings.salt}:val:{group}") < settings.val_share else "train"
        split = "test" if root in held_out else drawn
        if is_test[tile.tile_id] is None:
            reason = UNKNOWN
        elif split == "test" and not is_test[tile.tile_id]:  # the tile is related to held-out tiles
            reason = MIXED_GROUP
        # Existing tiles keep their split. If the group is now in another split, the new tile is excluded.
        elif splits_of_root[root] - {EXCLUDED, split}:
            reason = GROUP_CHANGED
        return SplitAssignment(
            tile_id=tile.tile_id, group_id=group, split=EXCLUDED if reason else split, reason=reason or None
        )

    return [existing.get(tile.tile_id) or plan(tile) for tile in tiles]
