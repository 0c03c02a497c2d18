"""Tiles, observations, proposals and splits joined into the rows of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.records import Caption, Observation, Proposal, Rejection, Sample, SplitAssignment, Tile
from hubbleclip.dataset.captions import make_captions
from hubbleclip.dataset.splits.sky_guard import EXCLUDED


def make_samples(  # noqa: PLR0917
    tiles: Sequence[Tile],
    observations: Mapping[str, Observation],
    proposals: Mapping[str, Proposal],
    assignments: Mapping[str, SplitAssignment],
    settings: ShardSettings,
    settings_digest: str,
) -> tuple[list[Sample], list[Rejection]]:
    """Samples sorted by tile id, and a rejection for every tile without a caption; excluded tiles give neither.

    Raises KeyError for a tile without an observation or an assignment: that is a mistake of the caller.
    """
    captions = {key: make_captions(proposal, settings.caption_kinds) for key, proposal in proposals.items()}
    samples, rejections = [], []
    now = datetime.now(UTC)
    for tile in sorted(tiles, key=lambda t: t.tile_id):
        assignment = assignments[tile.tile_id]
        if assignment.split == EXCLUDED:
            continue
        texts = captions.get(tile.proposal_id)
        if texts:
            proposal, observation = proposals[tile.proposal_id], observations[tile.obs_id]
            samples.append(make_sample(tile, observation, proposal, assignment, texts))
        else:
            rejections.append(_no_caption(tile, settings, settings_digest, now))
    return samples, rejections


def make_sample(
    tile: Tile, observation: Observation, proposal: Proposal, assignment: SplitAssignment, captions: Sequence[Caption]
) -> Sample:
    """The row of one tile: what is known of it, from where it came, and its captions, the main one first."""
    return Sample(
        tile_id=tile.tile_id, split=assignment.split, group_id=assignment.group_id,
        proposal_id=proposal.proposal_id, archive=proposal.archive, category=proposal.category, title=proposal.title,
        pi=proposal.pi, cycle=proposal.cycle,
        obs_id=observation.obs_id, target_name=observation.target_name, target_class=observation.target_class,
        is_moving=observation.is_moving,
        instrument=tile.instrument or observation.instrument, filter=tile.filter or observation.filters,
        ra_deg=tile.ra_deg, dec_deg=tile.dec_deg, corners_deg=tile.corners_deg,
        pixel_scale_arcsec=tile.pixel_scale_arcsec, valid_share=tile.valid_share,
        product_uri=tile.product_uri, product_sha256=tile.product_sha256, png_sha256=tile.png_sha256,
        caption_kinds=[caption.kind for caption in captions], captions=[caption.text for caption in captions],
        view=tile.view,
    )  # fmt: skip


def _no_caption(tile: Tile, settings: ShardSettings, settings_digest: str, now: datetime) -> Rejection:
    kinds = ", ".join(settings.caption_kinds)
    return Rejection(
        entity="tile", entity_id=tile.tile_id, stage="shards", reason="no_caption",
        detail=f"proposal {tile.proposal_id} has no {kinds}", settings_digest=settings_digest, rejected_at=now,
    )  # fmt: skip
