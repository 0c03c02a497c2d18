"""Splits that test generalisation to instruments or years that a model was not trained on.

Such a split is a dataset of its own, made on request; the catalog keeps the random split. The rules:

1. A group with any held-out tile is a test group. Its other tiles are excluded, so that test contains held-out tiles
   only and train nothing related to them.
2. Of the other groups a hash draws val.
3. A tile whose instrument or cycle is unknown is excluded.
4. Existing assignments stay: where a group has changed sides, its new tiles are excluded.
5. The sky guard comes last.
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
"""Exclusion reason of a tile that the scheme trains on, in a group of which other tiles are tested."""
UNKNOWN = "scheme:unknown"
"""Exclusion reason of a tile whose instrument or cycle is unknown."""
GROUP_CHANGED = "scheme:group_changed"
"""Exclusion reason of a new tile whose group is now in another split than its existing tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeInputs:
    """Properties of a tile that a scheme may use."""

    instrument: str | None
    cycle: int | None


Scheme = Callable[[SchemeInputs, SplitSettings], bool | None]
"""Whether a tile is held out for test; None where it is unknown."""


def by_instrument(inputs: SchemeInputs, settings: SplitSettings) -> bool | None:
    """Test on the instruments that match `test_instruments`, train on the others.

    Parameters
    ----------
    inputs
        `instrument` is used.
    settings
        Glob patterns, compared without case.

    Returns
    -------
    bool or None
        None for an unknown instrument.

    """
    name = (inputs.instrument or "").upper()
    return any(fnmatchcase(name, pattern.upper()) for pattern in settings.test_instruments) if name else None


def by_cycle(inputs: SchemeInputs, settings: SplitSettings) -> bool | None:
    """Test on proposal cycles from `test_from_cycle` on, train on earlier ones.

    Parameters
    ----------
    inputs
        `cycle` is used.
    settings
        `test_from_cycle` is used.

    Returns
    -------
    bool or None
        None for an unknown cycle.

    """
    return None if inputs.cycle is None else inputs.cycle >= settings.test_from_cycle


SCHEMES: Mapping[str, Scheme] = {"instrument": by_instrument, "cycle": by_cycle}
RANDOM = "random"


def find_scheme(name: str) -> Scheme:
    """Look up a scheme by name.

    Parameters
    ----------
    name
        A key of `SCHEMES`.

    Returns
    -------
    Scheme
        The rule.

    Raises
    ------
    SettingsError
        For an unknown name; the message lists the known ones.

    """
    try:
        return SCHEMES[name]
    except KeyError:
        raise SettingsError(
            f"unknown split scheme {name!r}: set splits.scheme to {RANDOM}, {', '.join(SCHEMES)}"
        ) from None


def plan_scheme(
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Mapping[str, Proposal],
    existing: Mapping[str, SplitAssignment],
    settings: SplitSettings,
) -> list[SplitAssignment]:
    """Assign every tile by the scheme of the settings, before the sky guard.

    Parameters
    ----------
    tiles
        All tiles.
    observations
        By observation id.
    proposals
        By proposal id.
    existing
        Assignments by tile id, which are returned unchanged.
    settings
        Scheme, val share, salt and thresholds of links.

    Returns
    -------
    list[SplitAssignment]
        In the order of `tiles`.

    """
    scheme = find_scheme(settings.scheme)
    members = {tile.proposal_id for tile in tiles} | proposals.keys()
    roots = group_proposals(members, text_links(proposals, settings))
    is_test = [scheme(_scheme_inputs(tile, observations, proposals), settings) for tile in tiles]
    held_out = {roots[tile.proposal_id] for tile, is_held_out in zip(tiles, is_test, strict=True) if is_held_out}
    existing_splits: dict[str, set[str]] = defaultdict(set)  # by root of the group
    for tile in tiles:
        if tile.tile_id in existing:
            existing_splits[roots[tile.proposal_id]].add(existing[tile.tile_id].split)
    return [
        existing.get(tile.tile_id)
        or _plan(tile, roots[tile.proposal_id], is_held_out, held_out, existing_splits, settings)
        for tile, is_held_out in zip(tiles, is_test, strict=True)
    ]


def _scheme_inputs(
    tile: Tile, observations: Mapping[str, Observation], proposals: Mapping[str, Proposal]
) -> SchemeInputs:
    """Instrument and cycle of a tile, from the tile, its observation and its proposal."""
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
    existing_splits: Mapping[str, set[str]],
    settings: SplitSettings,
) -> SplitAssignment:
    """Assignment of a new tile, before the sky guard."""
    group = group_id(root)
    # ":val:" makes the draw independent of that of the random scheme.
    drawn = "val" if unit_hash(f"{settings.salt}:val:{group}") < settings.val_share else "train"
    split, reason = (EXCLUDED, UNKNOWN) if is_test is None else ("test" if root in held_out else drawn, None)
    if split == "test" and not is_test:  # its group spans both sides: it would be neither a clean test nor train tile
        split, reason = EXCLUDED, MIXED_GROUP
    old = existing_splits.get(root, set()) - {EXCLUDED}
    if split != EXCLUDED and old - {split}:  # existing tiles never move, so the new one is excluded
        split, reason = EXCLUDED, GROUP_CHANGED
    return SplitAssignment(tile_id=tile.tile_id, group_id=group, split=split, reason=reason)
