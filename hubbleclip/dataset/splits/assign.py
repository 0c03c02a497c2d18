"""Permanent assignment of tiles to train, val and test: by proposal group, then by position on the sky."""

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
"""Exclusion reason of a new proposal that is linked to existing proposals in different splits."""
MIN_GROUPS = 3
"""Fewest groups for which val and test are filled; with fewer, all groups go to train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalSplit:
    """Group and split of a proposal; `split` is None until it is drawn."""

    group_id: str
    split: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakReport:
    """Leakage of a random split of single tiles, in numbers of train tiles.

    Attributes
    ----------
    num_train
        Train tiles of the random split.
    num_shared_abstract
        Those in a proposal group of which another tile is in val or test.
    num_overlap
        Those that overlap a val or test tile.
    num_moving_target
        Those that show the same moving target as a val or test tile.
    num_leaking
        Those with any of these leaks.

    """

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
    """Assign the tiles that have no split yet; existing assignments never change.

    The split of a group is drawn by a hash of group and salt, so it is the same in every catalog that contains the
    group. Schemes other than the random one decide what is tested. The sky guard then excludes conflicting tiles.

    Parameters
    ----------
    tiles
        All tiles, old ones too: the guard needs their positions.
    observations
        By observation id.
    proposals
        By proposal id.
    existing
        Assignments by tile id.
    settings
        Scheme, shares, salt, thresholds of links and the guard distance.
    former
        Assignment, by proposal, of a tile that no longer exists: a proposal whose images are cut again keeps its split.

    Returns
    -------
    list[SplitAssignment]
        Of the new tiles, sorted by tile id. SettingsError is raised for an unknown scheme.

    """
    if all(tile.tile_id in existing for tile in tiles):
        return []
    if settings.scheme == RANDOM:
        splits = split_proposals(tiles, observations, proposals, existing, settings, former or {})
        planned = [existing.get(tile.tile_id) or _assignment(tile, splits[tile.proposal_id]) for tile in tiles]
    else:
        planned = plan_scheme(tiles, observations, proposals, existing, settings)
    is_frozen = np.array([tile.tile_id in existing for tile in tiles])
    labels = [plan.split for plan in planned]
    # All tiles, old ones too: a new tile gives way to them. The guard is last because it needs every tile's split.
    reasons = guard_sky(locate_tiles(tiles, observations), labels, is_frozen, settings.guard_arcsec)
    new = [
        _excluded(plan, reasons[index]) if index in reasons else plan
        for index, plan in enumerate(planned)
        if not is_frozen[index]
    ]
    log.info("splits of %d new tiles: %s", len(new), dict(Counter(plan.reason or plan.split for plan in new)))
    return sorted(new, key=lambda plan: plan.tile_id)


def _assignment(tile: Tile, of_proposal: ProposalSplit) -> SplitAssignment:
    """Assignment of a tile from the split of its proposal."""
    return SplitAssignment(
        tile_id=tile.tile_id,
        group_id=of_proposal.group_id,
        split=of_proposal.split or EXCLUDED,
        reason=of_proposal.reason,
    )


def _excluded(plan: SplitAssignment, reason: str) -> SplitAssignment:
    """Copy of an assignment that excludes the tile."""
    return SplitAssignment(tile_id=plan.tile_id, group_id=plan.group_id, split=EXCLUDED, reason=reason)


def split_proposals(  # noqa: PLR0917
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Mapping[str, Proposal],
    existing: Mapping[str, SplitAssignment],
    settings: SplitSettings,
    former: Mapping[str, SplitAssignment],
) -> dict[str, ProposalSplit]:
    """Determine group and split of every proposal that has a tile: existing ones first, then by a draw.

    Parameters
    ----------
    tiles
        All tiles.
    observations
        By observation id; they link proposals that share a field.
    proposals
        By proposal id; their texts link them.
    existing
        Assignments by tile id.
    settings
        Shares, salt and thresholds of links.
    former
        Assignment, by proposal, of a tile that no longer exists.

    Returns
    -------
    dict[str, ProposalSplit]
        By proposal id, in order; every split is set.

    """
    # An excluded tile does not determine the split of its group.
    split_of_group = {plan.group_id: plan.split for plan in existing.values() if plan.split != EXCLUDED}
    known = sorted((tile for tile in tiles if tile.tile_id in existing), key=lambda tile: tile.tile_id)
    old = {**former, **{tile.proposal_id: existing[tile.tile_id] for tile in known}}
    by_text = text_links(proposals, settings)
    by_field = field_links(observations.values(), settings.field_share)
    members = sorted({tile.proposal_id for tile in tiles} | proposals.keys() | old.keys())
    linked_by_text, linked_by_any = (
        LinkedGroups(group_proposals(members, links), old, split_of_group) for links in (by_text, [*by_text, *by_field])
    )
    splits = {
        proposal_id: _known_proposal_split(old[proposal_id], split_of_group)
        if proposal_id in old
        else _new_proposal_split(proposal_id, linked_by_text, linked_by_any)
        for proposal_id in sorted({tile.proposal_id for tile in tiles})
    }
    undecided = {split.group_id for split in splits.values() if split.split is None}
    drawn = draw_splits(undecided, split_of_group, settings)
    return {
        proposal_id: split if split.split else ProposalSplit(group_id=split.group_id, split=drawn[split.group_id])
        for proposal_id, split in splits.items()
    }


class LinkedGroups:
    """Linked proposals, and the groups that the existing ones among them belong to.

    Attributes
    ----------
    roots
        Smallest proposal id of each proposal's connected component.
    split_of_group
        Split of each group that has one.
    groups
        Group ids of the existing proposals of each component, by root.

    """

    def __init__(
        self, roots: Mapping[str, str], old: Mapping[str, SplitAssignment], split_of_group: Mapping[str, str]
    ) -> None:
        self.roots = roots
        self.split_of_group = split_of_group
        self.groups: dict[str, set[str]] = defaultdict(set)
        for proposal_id, plan in old.items():
            self.groups[roots[proposal_id]].add(plan.group_id)

    def existing_groups(self, proposal_id: str) -> tuple[set[str], set[str]]:
        """Groups of the existing proposals that are linked to a proposal.

        Parameters
        ----------
        proposal_id
            A member of `roots`.

        Returns
        -------
        tuple[set[str], set[str]]
            Group ids, and the splits of those that have one.

        """
        root = self.roots[proposal_id]
        # The group id of the root may exist although its proposal has no tile left.
        groups = self.groups.get(root, set()) | ({group_id(root)} & self.split_of_group.keys())
        return groups, {self.split_of_group[group] for group in groups if group in self.split_of_group}


def _known_proposal_split(plan: SplitAssignment, split_of_group: Mapping[str, str]) -> ProposalSplit:
    """Group and split of a proposal that has an assigned tile; a conflict excludes it for good."""
    if plan.reason == GROUP_CONFLICT:
        return ProposalSplit(group_id=plan.group_id, split=EXCLUDED, reason=GROUP_CONFLICT)
    return ProposalSplit(group_id=plan.group_id, split=split_of_group.get(plan.group_id))


def _new_proposal_split(proposal_id: str, by_text: LinkedGroups, by_field: LinkedGroups) -> ProposalSplit:
    """Group and split of a new proposal: those of the proposals linked by text, else by a shared field.

    Between texts in two splits it is excluded. Between fields in two splits it forms its own group, and the sky guard
    decides each tile.
    """
    groups, splits = by_text.existing_groups(proposal_id)
    if len(splits) > 1:
        return ProposalSplit(group_id=min(groups), split=EXCLUDED, reason=GROUP_CONFLICT)
    root = by_text.roots[proposal_id]
    if not groups:  # a text link outranks a shared field
        field_groups, field_splits = by_field.existing_groups(proposal_id)
        if len(field_splits) <= 1:
            groups, splits, root = field_groups, field_splits, by_field.roots[proposal_id]
    return ProposalSplit(group_id=min(groups, default=group_id(root)), split=next(iter(splits), None))


def draw_splits(groups: Iterable[str], split_of_group: Mapping[str, str], settings: SplitSettings) -> dict[str, str]:
    """Draw a split for each group by the hash of salt and group: test below test_share, then val, then train.

    With at least `MIN_GROUPS` groups no split stays empty: an empty one takes, from the split with most groups, the
    drawn group whose hash is nearest to its own range. With fewer groups all go to train.

    Parameters
    ----------
    groups
        Ids of the groups without a split.
    split_of_group
        Splits of the existing groups.
    settings
        `test_share`, `val_share` and `salt` are used.

    Returns
    -------
    dict[str, str]
        Split of each of `groups`.

    """
    bounds = (0.0, settings.test_share, settings.test_share + settings.val_share, 1.0)
    ranges = {split: (bounds[i], bounds[i + 1]) for i, split in enumerate(("test", "val", "train"))}
    # Test has the lowest range: a smaller share of test or val never moves a train group.
    hash_of = {group: unit_hash(f"{settings.salt}:{group}") for group in sorted(groups)}
    if len(split_of_group.keys() | hash_of.keys()) < MIN_GROUPS:
        return dict.fromkeys(hash_of, "train")
    drawn = {g: next(split for split, (_, high) in ranges.items() if u < high) for g, u in hash_of.items()}
    for split, (low, high) in ranges.items():
        num_groups = Counter([*split_of_group.values(), *drawn.values()])
        # Only newly drawn groups may change splits, and never the last group of a split.
        fullest = max(drawn.values(), key=lambda name: (num_groups[name], name), default=split)
        if num_groups[split] == 0 and num_groups[fullest] > 1:
            donors = [group for group, name in drawn.items() if name == fullest]
            drawn[min(donors, key=lambda g: (max(low - hash_of[g], hash_of[g] - high), g))] = split
    return drawn


def leak_report(
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Iterable[str],
    links: Sequence[Link],
    settings: SplitSettings,
) -> LeakReport:
    """Count the train tiles that a random split of single tiles would leak.

    Parameters
    ----------
    tiles
        All tiles.
    observations
        By observation id.
    proposals
        Ids of all proposals.
    links
        Links by which proposals share a group.
    settings
        Shares, salt and the guard distance.

    Returns
    -------
    LeakReport
        Numbers of train tiles by kind of leak; `num_leaking` counts each tile once.

    """
    held_out_share = settings.val_share + settings.test_share
    held_out = np.array([unit_hash(f"{settings.salt}:{tile.tile_id}") < held_out_share for tile in tiles], dtype=bool)
    train, rest = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    roots = group_proposals(proposals, links)
    groups = [roots.get(tile.proposal_id, tile.proposal_id) for tile in tiles]
    held_out_groups = {groups[index] for index in rest}
    shared = {int(index) for index in train if groups[index] in held_out_groups}
    conflicts = find_conflicts(locate_tiles(tiles, observations), train, rest, settings.guard_arcsec)
    causes = Counter(conflicts.values())
    return LeakReport(
        num_train=len(train), num_shared_abstract=len(shared), num_overlap=causes["overlap"],
        num_moving_target=causes["moving_target"], num_leaking=len(shared | conflicts.keys()),
    )  # fmt: skip
