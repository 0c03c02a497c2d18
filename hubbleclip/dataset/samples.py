"""Make the samples of a dataset by joining tiles with their observations, proposals, captions and splits."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.records import (
    HEADER_SOURCE,
    PROPOSAL_SOURCE,
    Observation,
    Proposal,
    Rejection,
    Sample,
    SplitAssignment,
    Tile,
    reject,
)
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.dataset.captions import make_captions, title
from hubbleclip.dataset.splits.material import Material
from hubbleclip.dataset.splits.moving_targets import as_shown
from hubbleclip.dataset.splits.sky_guard import EXCLUDED
from hubbleclip.missions.base import PRESS

PRESS_RAD = math.radians(3 / 60)
"""Largest distance between an observation and its press image, in radians: 3', about the width of a camera's field."""
RELEASE = re.compile(r"(.*[0-9])-?[a-z]+")
"""Matches the name of a press image: the name of the press release, then letters that identify the image."""


def make_samples(
    material: Material, assignments: Mapping[str, SplitAssignment], settings: ShardSettings
) -> tuple[list[Sample], list[Rejection]]:
    """Join every tile that is in a split with its observation, proposal and captions; sorted by tile id.

    A tile without a caption, a proposal or an observation gives a rejection.
    """
    samples, rejections = [], []
    images = press_images(material.observations.values())
    splits_of: dict[str, set[str]] = defaultdict(set)
    for tile in material.tiles:
        if image := images.get(tile.obs_id):
            splits_of[release_of(image)].add(assignments[tile.tile_id].split)

    @cache
    def captions_of(proposal_id: str, obs_id: str, split: str) -> dict[str, str]:
        proposal, observation = material.proposals[proposal_id], material.observations[obs_id]
        summaries, image = material.summaries.get(proposal_id, {}), images.get(obs_id)
        # In val and test, the text of a press release is not used if a tile in another split has an image of the same
        # release.
        is_own = image and (split == "train" or splits_of[release_of(image)] <= {split, EXCLUDED})
        return make_captions(proposal, settings.caption_kinds, summaries, observation, image if is_own else None)

    for tile in sorted(material.tiles, key=lambda t: t.tile_id):
        assignment = assignments[tile.tile_id]
        if assignment.split == EXCLUDED:  # no rejection is needed, because the split table contains the reason
            continue
        proposal, observation = material.proposals.get(tile.proposal_id), material.observations.get(tile.obs_id)
        if proposal and observation and (captions := captions_of(tile.proposal_id, tile.obs_id, assignment.split)):
            samples.append(make_sample(tile, observation, proposal, assignment, captions))
        else:
            lacks = ", ".join(settings.caption_kinds) if observation else f"observation {tile.obs_id}"
            detail = f"proposal {tile.proposal_id} has no {lacks}"
            about = {"reason": "no_caption", "detail": detail, "settings_digest": settings.digest()}
            rejections.append(reject("tile", tile.tile_id, "shards", **about))
    return samples, rejections


def press_images(observations: Iterable[Observation]) -> dict[str, Observation]:
    """Map observation ids to the proposal's nearest press image within `PRESS_RAD`, if any; ignores moving targets."""
    placed: dict[str, list[tuple[Observation, Any]]] = defaultdict(list)
    for item in observations:
        if item.ra_deg is not None and item.dec_deg is not None and not item.is_moving:
            placed[item.proposal_id].append((item, unit_vectors(item.ra_deg, item.dec_deg)))
    found = {}
    for items in placed.values():
        images = [(image, place) for image, place in items if image.instrument == PRESS]
        for item, place in items if images else ():
            image, at = max(images, key=lambda one: (float(one[1] @ place), one[0].obs_id))
            if float(at @ place) >= math.cos(PRESS_RAD):
                found[item.obs_id] = image
    return found


def release_of(image: Observation) -> str:
    """Return the name of the press release of an image."""
    match = RELEASE.fullmatch(image.obs_id.lower())
    return match[1] if match else image.obs_id


def make_sample(
    tile: Tile, observation: Observation, proposal: Proposal, assignment: SplitAssignment, captions: Mapping[str, str]
) -> Sample:
    """Make the sample of one tile."""
    names, observation = Sample.__dataclass_fields__, as_shown(observation, tile)
    # If several sources have a field, the value of the last source in this order is used.
    sources = (observation, tile, proposal)
    values = {name: getattr(source, name) for source in sources for name in names if hasattr(source, name)}
    own = {
        "split": assignment.split,
        "group_id": assignment.group_id,
        "title": title(proposal, observation),
        # The tile's values come from the FITS header, which is more specific than the archive's list of observations.
        "instrument": tile.instrument or observation.instrument,
        "filter": tile.filter or observation.filters,
        "caption_kinds": list(captions),
        "captions": list(captions.values()),
        "caption_source": HEADER_SOURCE if proposal.source == HEADER_SOURCE else PROPOSAL_SOURCE,
    }
    return Sample(**values | own)
