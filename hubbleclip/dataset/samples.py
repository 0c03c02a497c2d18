"""Join tiles, observations, proposals and splits to the rows of a dataset."""

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
    """Join every captioned tile with its observation, proposal and split.

    Parameters
    ----------
    tiles
        In any order.
    observations
        By observation id; KeyError for a captioned tile without one.
    proposals
        By proposal id; a tile whose proposal is missing has no caption.
    assignments
        By tile id; KeyError for a tile without one.
    settings
        `caption_kinds` is used.
    settings_digest
        Recorded in the rejections.

    Returns
    -------
    tuple[list[Sample], list[Rejection]]
        Samples sorted by tile id, and a rejection for every tile without a caption. Excluded tiles are in neither.

    """
    captions = {key: make_captions(proposal, settings.caption_kinds) for key, proposal in proposals.items()}
    samples, rejections = [], []
    now = datetime.now(UTC)
    for tile in sorted(tiles, key=lambda t: t.tile_id):
        assignment = assignments[tile.tile_id]
        if assignment.split == EXCLUDED:  # its reason is in the split table: no rejection is needed
            continue
        texts = captions.get(tile.proposal_id)
        if texts:
            proposal, observation = proposals[tile.proposal_id], observations[tile.obs_id]
            samples.append(make_sample(tile, observation, proposal, assignment, texts))
        else:
            rejections.append(_rejection(tile, settings, settings_digest, now))
    return samples, rejections


def make_sample(
    tile: Tile, observation: Observation, proposal: Proposal, assignment: SplitAssignment, captions: Sequence[Caption]
) -> Sample:
    """Join one tile to a sample.

    Parameters
    ----------
    tile
        Gives the position on the sky and the hashes.
    observation
        Gives the target, and instrument and filter where the tile lacks them.
    proposal
        Gives title, category, PI and cycle.
    assignment
        Gives split and group.
    captions
        The main caption first.

    Returns
    -------
    Sample
        Row of the manifest.

    """
    return Sample(
        tile_id=tile.tile_id, split=assignment.split, group_id=assignment.group_id,
        proposal_id=proposal.proposal_id, archive=proposal.archive, category=proposal.category, title=proposal.title,
        pi=proposal.pi, cycle=proposal.cycle,
        obs_id=observation.obs_id, target_name=observation.target_name, target_class=observation.target_class,
        is_moving=observation.is_moving,
        # The FITS header of the tile is more specific than the archive's listing of the observation.
        instrument=tile.instrument or observation.instrument, filter=tile.filter or observation.filters,
        ra_deg=tile.ra_deg, dec_deg=tile.dec_deg, corners_deg=tile.corners_deg,
        pixel_scale_arcsec=tile.pixel_scale_arcsec, valid_share=tile.valid_share,
        product_uri=tile.product_uri, product_sha256=tile.product_sha256, png_sha256=tile.png_sha256,
        caption_kinds=[caption.kind for caption in captions], captions=[caption.text for caption in captions],
        view=tile.view,
    )  # fmt: skip


def _rejection(tile: Tile, settings: ShardSettings, settings_digest: str, now: datetime) -> Rejection:
    """Rejection of a tile whose proposal has no text for any of the caption kinds."""
    kinds = ", ".join(settings.caption_kinds)
    return Rejection(
        entity="tile", entity_id=tile.tile_id, stage="shards", reason="no_caption",
        detail=f"proposal {tile.proposal_id} has no {kinds}", settings_digest=settings_digest, rejected_at=now,
    )  # fmt: skip
