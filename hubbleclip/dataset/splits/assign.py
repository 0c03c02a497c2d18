"""Who goes into train, val and test: by proposal group, then by the sky, and for good."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Observation, Proposal, SplitAssignment, Tile
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_id, group_proposals, text_links
from hubbleclip.dataset.splits.schemes import RANDOM, plan_scheme
from hubbleclip.dataset.splits.shared_fields import field_links
from hubbleclip.dataset.splits.sky_guard import EXCLUDED, find_conflicts, guard_sky, locate_tiles

log = logging.getLogger(__name__)

GROUP_CONFLICT = "group_conflict"
"""Reason for a new proposal whose text is close to those of old ones in different splits."""
MIN_GROUPS = 3
"""With fewer groups there is nothing to hold out: all go to train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalSplit:
    """Group and split of a proposal; `split` is None until it is drawn."""

    group_id: str
    split: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakReport:
    """What a plain random split of tiles would leak: train tiles, and those that show or tell what val or test does."""

    num_train: int
    num_shared_abstract: int
    num_overlap: int
    num_moving_target: int
    num_leaking: int


def assign_splits(
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Mapping[str, Proposal],
    existing: Mapping[str, SplitAssignment],
    settings: SplitSettings,
    *,
    former: Mapping[str, SplitAssignment] | None = None,
) -> list[SplitAssignment]:
    """Assignments of the tiles that have none yet, sorted by tile id; those that exist never change.

    A group's split is drawn by a hash of group and salt, so that it is the same in every catalog that holds the group;
    the other schemes say what goes to test. The sky guard then takes out what find_conflicts. Pass all tiles, old ones too:
    the guard needs to know where they are. `former` has, by proposal, the assignment of a tile that is no longer among
    them, so that a proposal that is cut again stays where it was. Raises SettingsError for an unknown scheme.
    """
    if all(tile.tile_id in existing for tile in tiles):
        return []
    if settings.scheme == RANDOM:
        homes = split_proposals(tiles, observations, proposals, existing, settings, former or {})
        planned = [existing.get(tile.tile_id) or _assignment(tile, homes[tile.proposal_id]) for tile in tiles]
    else:
        planned = plan_scheme(tiles, observations, proposals, existing, settings)
    is_frozen = np.array([tile.tile_id in existing for tile in tiles])
    labels = [plan.split for plan in planned]
    reasons = guard_sky(locate_tiles(tiles, observations), labels, is_frozen, settings.guard_arcsec)
    new = [
        _excluded(plan, reasons[index]) if index in reasons else plan
        for index, plan in enumerate(planned)
        if not is_frozen[index]
    ]
    log.info("splits of %d new tiles: %s", len(new), dict(Counter(plan.reason or plan.split for plan in new)))
    return sorted(new, key=lambda plan: plan.tile_id)


def _assignment(tile: Tile, home: ProposalSplit) -> SplitAssignment:
    return SplitAssignment(
        tile_id=tile.tile_id, group_id=home.group_id, split=home.split or EXCLUDED, reason=home.reason
    )


def _excluded(plan: SplitAssignment, reason: str) -> SplitAssignment:
    return SplitAssignment(tile_id=plan.tile_id, group_id=plan.group_id, split=EXCLUDED, reason=reason)


def split_proposals(  # noqa: PLR0917
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Mapping[str, Proposal],
    existing: Mapping[str, SplitAssignment],
    settings: SplitSettings,
    former: Mapping[str, SplitAssignment],
) -> dict[str, ProposalSplit]:
    """Group and split of every proposal that has a tile: what is already settled first, then a draw."""
    settled = {plan.group_id: plan.split for plan in existing.values() if plan.split != EXCLUDED}
    known = sorted((tile for tile in tiles if tile.tile_id in existing), key=lambda tile: tile.tile_id)
    old = {**former, **{tile.proposal_id: existing[tile.tile_id] for tile in known}}
    said = text_links(proposals, settings)
    members = sorted({tile.proposal_id for tile in tiles} | proposals.keys() | old.keys())
    kinships = [
        LinkedGroups(roots, old, settled)
        for roots in (
            group_proposals(members, said),
            group_proposals(members, [*said, *field_links(observations.values(), settings.field_share)]),
        )
    ]
    homes = {
        proposal_id: _known_proposal_split(old[proposal_id], settled)
        if proposal_id in old
        else _new_proposal_split(proposal_id, *kinships)
        for proposal_id in sorted({tile.proposal_id for tile in tiles})
    }
    open_groups = {home.group_id for home in homes.values() if home.split is None}
    drawn = draw_splits(open_groups, settled, settings)
    return {
        key: home if home.split else ProposalSplit(group_id=home.group_id, split=drawn[home.group_id])
        for key, home in homes.items()
    }


class LinkedGroups:
    """Which proposals stay together, and the groups that the old ones among them have already."""

    def __init__(
        self, roots: Mapping[str, str], old: Mapping[str, SplitAssignment], settled: Mapping[str, str]
    ) -> None:
        self.roots = roots
        self.settled = settled
        self.groups: dict[str, set[str]] = defaultdict(set)
        for proposal_id, plan in old.items():
            self.groups[roots[proposal_id]].add(plan.group_id)

    def kin(self, proposal_id: str) -> tuple[set[str], set[str]]:
        """Groups of the old proposals that belong to a new one, and their splits."""
        root = self.roots[proposal_id]
        kin = self.groups.get(root, set()) | ({group_id(root)} & self.settled.keys())
        return kin, {self.settled[group] for group in kin if group in self.settled}


def _known_proposal_split(plan: SplitAssignment, settled: Mapping[str, str]) -> ProposalSplit:
    if plan.reason == GROUP_CONFLICT:
        return ProposalSplit(group_id=plan.group_id, split=EXCLUDED, reason=GROUP_CONFLICT)
    return ProposalSplit(group_id=plan.group_id, split=settled.get(plan.group_id))


def _new_proposal_split(proposal_id: str, by_text: LinkedGroups, by_field: LinkedGroups) -> ProposalSplit:
    """ProposalSplit of a proposal seen for the first time: with those that say the same, else with those in its field.

    Between texts in two splits it is left out; between fields in two splits it stands alone, and the sky guard judges
    each tile.
    """
    kin, splits = by_text.kin(proposal_id)
    if len(splits) > 1:
        return ProposalSplit(group_id=min(kin), split=EXCLUDED, reason=GROUP_CONFLICT)
    root = by_text.roots[proposal_id]
    if not kin:
        near, near_splits = by_field.kin(proposal_id)
        if len(near_splits) <= 1:
            kin, splits, root = near, near_splits, by_field.roots[proposal_id]
    return ProposalSplit(group_id=min(kin, default=group_id(root)), split=next(iter(splits), None))


def draw_splits(groups: Iterable[str], settled: Mapping[str, str], settings: SplitSettings) -> dict[str, str]:
    """A split for each group, by where the hash of salt and group falls: test, then val, then train.

    Three groups or more leave no split empty: an empty one (test first, then val, train) takes from the fullest split
    the group whose hash is nearest to its own range. With fewer groups all go to train.
    """
    bounds = (0.0, settings.test_share, settings.test_share + settings.val_share, 1.0)
    ranges = {split: (bounds[i], bounds[i + 1]) for i, split in enumerate(("test", "val", "train"))}
    place = {group: unit_hash(f"{settings.salt}:{group}") for group in sorted(groups)}
    if len(settled.keys() | place.keys()) < MIN_GROUPS:
        return dict.fromkeys(place, "train")
    drawn = {g: next(split for split, (_, high) in ranges.items() if u < high) for g, u in place.items()}
    for split, (low, high) in ranges.items():
        filled = Counter([*settled.values(), *drawn.values()])
        fullest = max(drawn.values(), key=lambda name: (filled[name], name), default=split)
        if filled[split] == 0 and filled[fullest] > 1:
            donors = [group for group, name in drawn.items() if name == fullest]
            drawn[min(donors, key=lambda g: (max(low - place[g], place[g] - high), g))] = split
    return drawn


def leak_report(
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Iterable[str],
    links: Sequence[Link],
    settings: SplitSettings,
) -> LeakReport:
    """How many train tiles a random split of single tiles would leak: what the groups and the guard are for."""
    held_out_share = settings.val_share + settings.test_share
    held_out = np.array([unit_hash(f"{settings.salt}:{tile.tile_id}") < held_out_share for tile in tiles], dtype=bool)
    train, rest = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    roots = group_proposals(proposals, links)
    groups = [roots.get(tile.proposal_id, tile.proposal_id) for tile in tiles]
    told = {groups[index] for index in rest}
    shared = {int(index) for index in train if groups[index] in told}
    shown = find_conflicts(locate_tiles(tiles, observations), train, rest, settings.guard_arcsec)
    causes = Counter(shown.values())
    return LeakReport(
        num_train=len(train), num_shared_abstract=len(shared), num_overlap=causes["overlap"],
        num_moving_target=causes["moving_target"], num_leaking=len(shared | shown.keys()),
    )  # fmt: skip
