"""Assign tiles permanently to train, val and test: by proposal group, then by position on the sky, then by caps.

A cap is a maximum number of tiles of one proposal or of one sky patch. Tiles that exceed a cap are excluded.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import TypeVar

import numpy as np

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment, Tile
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.near_duplicates import group_id, group_proposals, text_links
from hubbleclip.dataset.splits.schemes import RANDOM, plan_scheme
from hubbleclip.dataset.splits.shared_fields import field_links
from hubbleclip.dataset.splits.sky_guard import EXCLUDED, find_conflicts, guard_sky, locate_tiles

log = logging.getLogger(__name__)

GROUP_CONFLICT = "group_conflict"
"""Exclusion reason of a new proposal that is linked by its text to existing proposals in different splits."""
LATE_LINK = "late_link"
"""Exclusion reason of a tile whose proposal was later found to be linked by text to a proposal in another split."""
PROPOSAL_CAP, PATCH_CAP = "proposal_cap", "patch_cap"
CAPS = frozenset({PROPOSAL_CAP, PATCH_CAP})
"""Exclusion reasons of tiles that exceed a cap. Such tiles are assigned again, because the cap may have been raised."""
PATCH_ORDER = 10
"""HEALPix order of a sky patch, which has a side of 3.4 arcminutes, about the field of ACS/WFC."""
PERMANENT = frozenset({GROUP_CONFLICT, LATE_LINK})
"""Exclusion reasons that apply to all tiles of a proposal, including tiles that are added later."""
RANKS = {"test": 0, "val": 1, "train": 2}
"""Ranks of the splits: if linked proposals are in different splits, only those in the split of lowest rank are kept."""
MIN_GROUPS = 3
"""Minimum number of groups for a division into three splits. If there are fewer groups, all are assigned to train."""
Member = TypeVar("Member")


def assign_splits(
    material: Material,
    existing: Mapping[str, SplitAssignment],
    settings: SplitSettings,
    *,
    former: Mapping[str, SplitAssignment] | None = None,  # assignments of deleted tiles, by proposal id
) -> list[SplitAssignment]:
    """Assign the tiles that have no split yet; the material also contains the tiles that have a split.

    With the random scheme, the split of a group is drawn by a hash of the group id and the salt, so that the result
    does not depend on the machine or on chance. Other schemes choose the test tiles by a property such as the
    instrument. Finally the sky guard excludes tiles that conflict with tiles in other splits.

    Existing assignments change in two cases only. Tiles that exceeded a cap are assigned again. If proposals in
    different splits were linked by text after their assignment, or if moving targets in different splits are now known
    to be one body, only the tiles in the split of the lowest rank are kept; the others are excluded. Test tiles never
    change.
    """
    by_text = [*text_links(material.proposals, settings), *material.same_files]
    known = known_splits(material, existing, former or {})
    late = late_linked({key: plan.split for key, plan in known.items() if plan.split}, by_text)
    changed = _exclude_proposals(material, existing, late)
    changed |= _exclude_bodies(material, {**existing, **changed})
    # Tiles that exceeded a cap are assigned again, because the cap may have been raised.
    stored, existing = existing, {tile_id: plan for tile_id, plan in existing.items() if plan.reason not in CAPS}
    is_frozen = np.array([tile.tile_id in existing for tile in material.tiles], dtype=bool)
    if is_frozen.all():
        return sorted(changed.values(), key=lambda plan: plan.tile_id)
    existing = {**existing, **changed}
    if settings.scheme == RANDOM:
        known |= {key: replace(known[key], split=EXCLUDED, reason=LATE_LINK) for key in late}
        splits = split_proposals(material, existing, settings, known, by_text)
        planned = [
            existing.get(tile.tile_id) or replace(splits[tile.proposal_id], tile_id=tile.tile_id)
            for tile in material.tiles
        ]
    else:
        planned = plan_scheme(material, existing, settings, by_text)
    labels = [plan.split for plan in planned]
    # The sky guard comes last, because it needs the split of every tile. It gets the existing tiles too, because it
    # excludes new tiles that show the same sky or moving target as an existing tile in another split.
    reasons = guard_sky(locate_tiles(material), labels, is_frozen, settings.guard_arcsec)
    new = [
        _excluded(plan, reasons[index]) if index in reasons else plan
        for index, plan in enumerate(planned)
        if not is_frozen[index]
    ]
    new = [plan for plan in _capped(new, material, existing, settings) if stored.get(plan.tile_id) != plan]
    log.info("splits of %d new tiles: %s", len(new), dict(Counter(plan.reason or plan.split for plan in new)))
    return sorted([*new, *changed.values()], key=lambda plan: plan.tile_id)


def late_linked(split_of: Mapping[str, str], links: Sequence[Link]) -> set[str]:
    """Find the proposals that must be excluded, because text links them to a proposal in a split of lower rank.

    Two proposals may be in different splits already when their abstracts arrive. A proposal in train is then excluded
    if it is linked to a proposal in val or test. A proposal in val is excluded if it is linked to a proposal in test.
    """
    # A proposal without a split has no tile in any split, so links to it and through it are ignored.
    known = {proposal_id: split for proposal_id, split in split_of.items() if split in RANKS}
    root_of = group_proposals(known, [link for link in links if link.one in known and link.other in known])
    return set(_outranked([(root, known[proposal_id], proposal_id) for proposal_id, root in root_of.items()]))


def _outranked(members: Sequence[tuple[str, str, Member]]) -> list[Member]:
    """Find the members whose set also has a member in a split of lower rank; a tuple is (set id, split, member)."""
    best: dict[str, int] = {}
    for key, split, _ in members:
        best[key] = min(RANKS[split], best.get(key, RANKS[split]))
    return [member for key, split, member in members if RANKS[split] > best[key]]


def _exclude_proposals(
    material: Material, existing: Mapping[str, SplitAssignment], late: Set[str]
) -> dict[str, SplitAssignment]:
    """Exclude the tiles of the proposals `late`, and return the assignments that have changed, by tile id."""
    changed = {
        tile.tile_id: _excluded(existing[tile.tile_id], LATE_LINK)
        for tile in material.tiles
        if tile.proposal_id in late and tile.tile_id in existing and existing[tile.tile_id].split != EXCLUDED
    }
    if changed:
        log.warning(
            "%d tiles are excluded from now on, because the texts of their proposals are now linked to proposals in val"
            " or test: %s",
            len(changed),
            ", ".join(sorted(late)),
        )
    return changed


def _exclude_bodies(material: Material, existing: Mapping[str, SplitAssignment]) -> dict[str, SplitAssignment]:
    """Exclude tiles whose moving target is also in a split of lower rank; return their new assignments by tile id."""
    shown = [
        (body, plan.split, plan)
        for tile in material.tiles
        if (plan := existing.get(tile.tile_id)) and plan.split != EXCLUDED and (body := material.body_of(tile))
    ]
    return {plan.tile_id: _excluded(plan, "sky_guard:moving_target") for plan in _outranked(shown)}


def _excluded(plan: SplitAssignment, reason: str) -> SplitAssignment:
    """Copy an assignment and change its split to `excluded`, with the given reason."""
    return replace(plan, split=EXCLUDED, reason=reason)


def _capped(
    new: Sequence[SplitAssignment],
    material: Material,
    existing: Mapping[str, SplitAssignment],
    settings: SplitSettings,
) -> list[SplitAssignment]:
    """Exclude the new tiles that exceed a cap."""
    limits = {PROPOSAL_CAP: settings.max_tiles_per_proposal, PATCH_CAP: settings.max_tiles_per_patch}
    if not any(limits.values()):
        return list(new)
    places: dict[str, dict[str, str | int]] = {}  # proposal or patch of each tile, by tile id and cap
    for tile, patch in zip(material.tiles, sky_patches(material.tiles), strict=True):
        of_tile = {PROPOSAL_CAP: tile.proposal_id, PATCH_CAP: patch}
        places[tile.tile_id] = {name: key for name, key in of_tile.items() if limits[name] and key is not None}
    counted = [key for key, plan in existing.items() if key in places and plan.split != EXCLUDED]
    num_used = Counter(place for tile_id in counted for place in places[tile_id].items())
    candidates = {plan.tile_id for plan in new if plan.split != EXCLUDED}
    reasons: dict[str, str] = {}
    for tile_id in _in_turn([tile for tile in material.tiles if tile.tile_id in candidates]):
        full = next((name for name, key in places[tile_id].items() if num_used[name, key] >= limits[name]), None)
        if full:
            reasons[tile_id] = full
        else:
            num_used.update(places[tile_id].items())
    return [_excluded(plan, reasons[plan.tile_id]) if plan.tile_id in reasons else plan for plan in new]


def sky_patches(tiles: Sequence[Tile]) -> list[int | None]:
    """Find the HEALPix pixel of each tile's centre; None without a position."""
    import astropy.units as u  # noqa: PLC0415 - imports astropy, and few profiles have caps
    from astropy_healpix import HEALPix  # noqa: PLC0415

    positions = np.array([(tile.ra_deg or 0.0, tile.dec_deg or 0.0) for tile in tiles]).reshape(-1, 2) * u.deg
    pixels = HEALPix(nside=2**PATCH_ORDER, order="nested").lonlat_to_healpix(positions[:, 0], positions[:, 1])
    return [None if tile.ra_deg is None else int(pixel) for tile, pixel in zip(tiles, pixels, strict=True)]


def _in_turn(tiles: Sequence[Tile]) -> list[str]:
    """Sort tile ids so that one tile of each file comes first, then a second tile of each file, and so on."""
    files: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for tile in tiles:
        files[tile.product_uri].append((unit_hash(tile.tile_id), tile.tile_id))
    turns = ((turn, *member) for members in files.values() for turn, member in enumerate(sorted(members)))
    return [tile_id for *_, tile_id in sorted(turns)]


def split_proposals(
    material: Material,
    existing: Mapping[str, SplitAssignment],
    settings: SplitSettings,
    known: Mapping[str, SplitAssignment],
    by_text: Sequence[Link],
) -> dict[str, SplitAssignment]:
    """Determine the group and the split of every proposal that has a tile.

    A group keeps its existing split. For a group without a split, a split is drawn. The returned assignments are for
    proposals, so the caller must copy them for each tile and set the field `tile_id`.
    """
    split_of_group = _splits_of_groups(existing)
    by_field = field_links(material.observations.values())
    with_tiles = {tile.proposal_id for tile in material.tiles}
    members = sorted(with_tiles | material.proposals.keys() | known.keys())
    linked_by_text, linked_by_any = (
        LinkedGroups(group_proposals(members, links), known, split_of_group)
        for links in (by_text, [*by_text, *by_field])
    )
    splits = {
        proposal_id: known.get(proposal_id) or _new_proposal_split(proposal_id, linked_by_text, linked_by_any)
        for proposal_id in sorted(with_tiles)
    }
    undecided = {split.group_id for split in splits.values() if not split.split}
    drawn = draw_splits(undecided, split_of_group, settings)
    return {
        proposal_id: split if split.split else replace(split, split=drawn[split.group_id])
        for proposal_id, split in splits.items()
    }


def known_splits(
    material: Material, existing: Mapping[str, SplitAssignment], former: Mapping[str, SplitAssignment]
) -> dict[str, SplitAssignment]:
    """Find the group and the split ("" if none) of each proposal that has or had assigned tiles."""
    split_of_group = _splits_of_groups(existing)
    # The last tile gives the assignment of the proposal, so tiles with a permanent exclusion reason are sorted last.
    order = sorted(
        (existing[tile.tile_id].reason in PERMANENT, tile.tile_id, tile.proposal_id)
        for tile in material.tiles
        if tile.tile_id in existing
    )
    plans = {**former, **{proposal_id: existing[tile_id] for _, tile_id, proposal_id in order}}
    return {
        proposal_id: plan
        if plan.reason in PERMANENT
        else replace(plan, split=split_of_group.get(plan.group_id, ""), reason=None)
        for proposal_id, plan in plans.items()
    }


def _splits_of_groups(existing: Mapping[str, SplitAssignment]) -> dict[str, str]:
    """Return the split of each group that has tiles in a split; excluded tiles are ignored."""
    return {plan.group_id: plan.split for plan in existing.values() if plan.split != EXCLUDED}


class LinkedGroups:
    """Connected components of linked proposals, and the existing groups of the proposals in each component.

    Attributes
    ----------
    roots
        Root of each proposal's component, by proposal id. The root is the smallest proposal id in the component.
    split_of_group
        Split of each group that has one, by group id.
    groups
        Ids of the groups to which proposals of a component are already assigned, by root.

    """

    def __init__(
        self, roots: Mapping[str, str], known: Mapping[str, SplitAssignment], split_of_group: Mapping[str, str]
    ) -> None:
        self.roots = roots
        self.split_of_group = split_of_group
        self.groups: dict[str, set[str]] = defaultdict(set)
        for proposal_id, plan in known.items():
            self.groups[roots[proposal_id]].add(plan.group_id)

    def existing_groups(self, proposal_id: str) -> tuple[set[str], set[str]]:
        """Find the existing groups of the proposals that are linked to a proposal, and the splits of these groups."""
        root = self.roots[proposal_id]
        # The group that is named after the root may have a split even if no tile of the root proposal exists any more.
        groups = self.groups.get(root, set()) | ({group_id(root)} & self.split_of_group.keys())
        return groups, {self.split_of_group[group] for group in groups if group in self.split_of_group}


def _new_proposal_split(proposal_id: str, by_text: LinkedGroups, by_field: LinkedGroups) -> SplitAssignment:
    """Assign a new proposal to the group and the split of the proposals that are linked to it.

    A link by similar texts has priority over a link by a shared field of the sky. If links by text lead to groups in
    different splits, the proposal is excluded. If links by text lead to no group, and links by field lead to groups in
    different splits, the proposal becomes a group of its own. The sky guard later compares each of its tiles with the
    tiles of the other splits.
    """
    groups, splits = by_text.existing_groups(proposal_id)
    if len(splits) > 1:
        return SplitAssignment(tile_id="", group_id=min(groups), split=EXCLUDED, reason=GROUP_CONFLICT)
    root = by_text.roots[proposal_id]
    if not groups:  # links by a shared field are used only if there is no link by text
        field_groups, field_splits = by_field.existing_groups(proposal_id)
        if len(field_splits) <= 1:
            groups, splits, root = field_groups, field_splits, by_field.roots[proposal_id]
    group = min(groups, default=group_id(root))
    return SplitAssignment(tile_id="", group_id=group, split=next(iter(splits), ""), reason=None)


def draw_splits(groups: Iterable[str], split_of_group: Mapping[str, str], settings: SplitSettings) -> dict[str, str]:
    """Draw a split for each group by a hash of the salt and the group id.

    The hash is a number in [0, 1). This interval is divided into ranges for test, val and train, in this order. If
    there are fewer than `MIN_GROUPS` groups, all of them are assigned to train. Otherwise no split stays empty: one
    newly drawn group is moved from the split with the most groups to the empty split. The group whose hash is nearest
    to the range of the empty split is chosen.
    """
    bounds = (0.0, settings.test_share, settings.test_share + settings.val_share, 1.0)
    ranges = {split: (bounds[i], bounds[i + 1]) for i, split in enumerate(("test", "val", "train"))}
    # Train has the last of the three ranges: if the share of test or val is reduced, the groups of train stay in train.
    hash_of = {group: unit_hash(f"{settings.salt}:{group}") for group in sorted(groups)}
    if len(split_of_group.keys() | hash_of.keys()) < MIN_GROUPS:
        return dict.fromkeys(hash_of, "train")
    drawn = {g: next(split for split, (_, high) in ranges.items() if u < high) for g, u in hash_of.items()}
    for split, (low, high) in ranges.items():
        num_groups = Counter([*split_of_group.values(), *drawn.values()])
        # Only newly drawn groups may change their split, and a split never loses its last group.
        fullest = max(drawn.values(), key=lambda name: (num_groups[name], name), default=split)
        if num_groups[split] == 0 and num_groups[fullest] > 1:
            donors = [group for group, name in drawn.items() if name == fullest]
            drawn[min(donors, key=lambda g: (max(low - hash_of[g], hash_of[g] - high), g))] = split
    return drawn


def leak_report(material: Material, links: Sequence[Link], settings: SplitSettings) -> dict[str, int]:
    """Count the train tiles that would leak if single tiles were assigned to splits at random.

    A train tile leaks if it has the same proposal group or the same moving target as a tile in val or test, or if the
    footprints of the two tiles overlap or are nearer than the guard distance. `num_leaking` counts a tile with several
    causes once.
    """
    held_out_share = settings.val_share + settings.test_share
    hashes = np.array([unit_hash(f"{settings.salt}:{tile.tile_id}") for tile in material.tiles])
    held_out = hashes < held_out_share
    train, rest = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    roots = group_proposals(material.proposals, links)
    groups = [roots.get(tile.proposal_id, tile.proposal_id) for tile in material.tiles]
    held_out_groups = {groups[index] for index in rest}
    shared = {int(index) for index in train if groups[index] in held_out_groups}
    conflicts = find_conflicts(locate_tiles(material), train, rest, settings.guard_arcsec)
    causes = Counter(conflicts.values())
    return {
        "num_train": len(train),
        "num_shared_abstract": len(shared),
        "num_overlap": causes["overlap"],
        "num_moving_target": causes["moving_target"],
        "num_leaking": len(shared | conflicts.keys()),
    }
