"""The tiles of a dataset with the observations and proposals to which they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hubbleclip.core.records import AbstractSummary, Observation, Proposal, Tile
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.moving_targets import as_shown, moving_target


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Tiles, observations by observation id, and proposals by proposal id.

    The observation or the proposal of a tile may be missing. There may be observations and proposals without tiles.
    `summaries` maps a proposal id to the summaries of the proposal's abstract. The key of a summary is its field
    `writer`. The key `""` gives the summary that the settings select. `same_files` links proposals that share an
    identical file.
    """

    tiles: Sequence[Tile]
    observations: Mapping[str, Observation]
    proposals: Mapping[str, Proposal]
    summaries: Mapping[str, Mapping[str, AbstractSummary]] = field(default_factory=dict)
    same_files: Sequence[Link] = ()

    def instrument_of(self, tile: Tile) -> str | None:
        """Find the instrument of a tile in its FITS header, or else in the archive's record of the observation."""
        observation = self.observations.get(tile.obs_id)
        return tile.instrument or (observation.instrument if observation else None)

    def body_of(self, tile: Tile) -> str | None:
        """Determine the designation of the moving target that a tile shows; None for a fixed or an unknown target."""
        observation = self.observations.get(tile.obs_id)
        return moving_target(as_shown(observation, tile)) if observation else None
