"""Known facts of a simulated archive, with which `hubbleclip check-archive` compares the archive's answers."""

from __future__ import annotations

from dataclasses import replace

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.missions.archive import ArchivePins, PinnedFile
from hubbleclip.simulator.observations import (
    FIRST_RELEASE_MJD,
    SimObservation,
    SimProduct,
    SkySettings,
    make_proposals,
    observations_of,
)

COMBINED = ("DRW", "DRC", "DRZ", "I2D")  # Kinds of combined images, the preferred one first.


def pins_of(settings: SimulatorSettings) -> ArchivePins:
    """Collect the known facts of the archive and of the first proposal that is suitable for the check.

    In a suitable proposal, each observation has a combined image, and at least one observation has a preview.
    """
    common = ArchivePins(released_mjd=(FIRST_RELEASE_MJD, FIRST_RELEASE_MJD + 0.5))
    sky = SkySettings(**settings.model_dump())
    for proposal in make_proposals(sky):
        observations = observations_of(sky, proposal)
        images = [_combined(item) for item in observations]
        preview = next((one for item in observations for one in item.products if one.file_name.endswith(".jpg")), None)
        if proposal.is_calibration or preview is None or any(item.is_hap or item.is_moving for item in observations):
            continue
        files = [image for image in images if image is not None]
        if len(files) < len(observations):
            continue
        file = PinnedFile(
            proposal=proposal.number,
            obs_id=observations[0].obs_id,
            uri=files[0].uri,
            size_bytes=files[0].size_bytes,
            preview_uri=preview.uri,
        )
        names = frozenset(one.file_name for one in files)
        title = proposal.number, proposal.title
        return replace(common, proposal=proposal.number, file_names=names, file=file, title=title)
    return common


def _combined(observation: SimObservation) -> SimProduct | None:
    """Return the preferred combined image of an observation."""
    by_kind = {product.kind: product for product in observation.products}
    return next((by_kind[kind] for kind in COMBINED if kind in by_kind), None)
