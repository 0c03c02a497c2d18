"""Splits that ask whether a model generalises: to instruments, or to years, that it was not trained on.

Such a split is a dataset of its own, made on request; the catalog keeps the random one. The rules: a group any of whose
tiles the scheme holds out is a test group, and its other tiles are left out, so that test is all of the one kind and
train tells nothing of it; of the groups left a hash draws val; a tile of which the scheme cannot tell is left out. What
is settled stays: where a group has changed sides since, its new tiles are left out. The sky guard comes last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Observation, Proposal, SplitAssignment, Tile
from hubbleclip.dataset.shard_writer import unit_hash
from hubbleclip.dataset.splits.near_duplicates import group_id, group_proposals, text_links
from hubbleclip.dataset.splits.sky_guard import EXCLUDED

MIXED_GROUP = "scheme:spans"
"""Reason for a tile of a test group that is not what the scheme tests on."""
UNKNOWN = "scheme:unknown"
"""Reason for a tile of which nothing is known to go by."""
GROUP_CHANGED = "scheme:group_changed"
"""Reason for a new tile whose group the scheme now sees on the other side of its old tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeInputs:
    """What a scheme may go by of one tile."""

    instrument: str | None
    cycle: int | None


Scheme = Callable[[SchemeInputs, SplitSettings], bool | None]
"""Whether a tile is held out for test; None where that cannot be told."""


def by_instrument(facts: SchemeInputs, settings: SplitSettings) -> bool | None:
    """Test on the instruments `test_instruments`, train on the others."""
    name = (facts.instrument or "").upper()
    return any(fnmatchcase(name, pattern.upper()) for pattern in settings.test_instruments) if name else None


def by_cycle(facts: SchemeInputs, settings: SplitSettings) -> bool | None:
    """Train on old cycles, test on those from `test_from_cycle` on."""
    return None if facts.cycle is None else facts.cycle >= settings.test_from_cycle


SCHEMES: Mapping[str, Scheme] = {"instrument": by_instrument, "cycle": by_cycle}
RANDOM = "random"


def find_scheme(name: str) -> Scheme:
    """The scheme of that name. Raises SettingsError that names those there are."""
    try:
        return SCHEMES[name]
    except KeyError:
        raise SettingsError(f"no split scheme {name!r}: set splits.scheme to {RANDOM}, {', '.join(SCHEMES)}") from None


def plan_scheme(
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Mapping[str, Proposal],
    existing: Mapping[str, SplitAssignment],
    settings: SplitSettings,
) -> list[SplitAssignment]:
    """An assignment for every tile, in their order, before the sky guard; those that exist stay."""
    scheme = find_scheme(settings.scheme)
    members = {tile.proposal_id for tile in tiles} | proposals.keys()
    roots = group_proposals(members, text_links(proposals, settings))
    is_test = [scheme(_scheme_inputs(tile, observations, proposals), settings) for tile in tiles]
    held_out = {roots[tile.proposal_id] for tile, is_mine in zip(tiles, is_test, strict=True) if is_mine}
    settled: dict[str, set[str]] = defaultdict(set)
    for tile in tiles:
        if tile.tile_id in existing:
            settled[roots[tile.proposal_id]].add(existing[tile.tile_id].split)
    return [
        existing.get(tile.tile_id) or _plan(tile, roots[tile.proposal_id], is_mine, held_out, settled, settings)
        for tile, is_mine in zip(tiles, is_test, strict=True)
    ]


def _scheme_inputs(
    tile: Tile, observations: Mapping[str, Observation], proposals: Mapping[str, Proposal]
) -> SchemeInputs:
    observation, proposal = observations.get(tile.obs_id), proposals.get(tile.proposal_id)
    return SchemeInputs(
        instrument=tile.instrument or (observation.instrument if observation else None),
        cycle=proposal.cycle if proposal else None,
    )


def _plan(  # noqa: PLR0917
    tile: Tile,
    root: str,
    is_test: bool | None,
    held_out: set[str],
    settled: Mapping[str, set[str]],
    settings: SplitSettings,
) -> SplitAssignment:
    group = group_id(root)
    drawn = "val" if unit_hash(f"{settings.salt}:val:{group}") < settings.val_share else "train"
    split, reason = (EXCLUDED, UNKNOWN) if is_test is None else ("test" if root in held_out else drawn, None)
    if split == "test" and not is_test:
        split, reason = EXCLUDED, MIXED_GROUP
    old = settled.get(root, set()) - {EXCLUDED}
    if split != EXCLUDED and old - {split}:
        split, reason = EXCLUDED, GROUP_CHANGED
    return SplitAssignment(tile_id=tile.tile_id, group_id=group, split=split, reason=reason)
