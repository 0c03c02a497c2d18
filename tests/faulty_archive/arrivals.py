"""Rows of the archive's observation table: which rows are listed on the last simulated night, and odd rows among them.

As the real archive does, it lists observations late, with their old release dates; it adds, withdraws and renumbers
rows of old visits; and it has rows that are unlike the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hubbleclip.simulator.observations import SimObservation, SimProposal, observations_of
from hubbleclip.simulator.random_draws import hash_seed, python_rng

if TYPE_CHECKING:
    from tests.faulty_archive.archive import FaultySettings

CHANGE_NIGHTS = 30
"""The archive changes an observation at most this number of nights after its release."""
RENUMBERED_BY = 40_000_000  # The number is even: rendered files depend on the parity of `obsid`.
SKY_CELL_OBSID = 2_130_000_000
SKY_CELLS = 10_000_000  # Number of different sky cells.
LEAD_DAYS = 4.2  # Number of days by which some release dates precede the exposure.
PLANE_EXPOSURE = 0.5  # Exposure time of the second plane of an observation, relative to that of the first.


def listed_observations(settings: FaultySettings, proposal: SimProposal) -> list[SimObservation]:
    """List the observations of a proposal that the archive lists on the last simulated night."""
    standard = observations_of(settings, proposal)
    if not (settings.changed_share or settings.odd_share):
        return list(standard)
    names = {item.obs_id for item in standard}
    with_hap = observations_of(settings.model_copy(update={"hap_share": 1.0}), proposal)
    added = [item for item in with_hap if item.obs_id not in names and _has_late_hap(settings, proposal, item)]
    changed = (_changed(settings, proposal, item) for item in standard)
    return [_early(settings, item) for item in (*changed, *added) if item is not None]


def _has_late_hap(settings: FaultySettings, proposal: SimProposal, item: SimObservation) -> bool:
    """Decide whether the visit of a Hubble Advanced Product has received such products after its release."""
    rng = python_rng("late HAP", proposal.number, item.visit_index)
    return item.is_hap and rng.random() < settings.changed_share and _is_past(settings, proposal, rng.random())


def _changed(settings: FaultySettings, proposal: SimProposal, item: SimObservation) -> SimObservation | None:
    """Return the observation as it is listed on the last night; None if it is not listed yet or not any more."""
    rng = python_rng("change", item.obs_id)
    kind, is_past = rng.random() // max(settings.changed_share, 1e-9), _is_past(settings, proposal, rng.random())
    if kind == 0:
        return item if is_past else None  # listed late
    if kind == 1 and is_past:
        return None  # withdrawn
    return replace(item, obsid=item.obsid + RENUMBERED_BY) if kind == 2 and is_past else item


def _is_past(settings: FaultySettings, proposal: SimProposal, draw: float) -> bool:
    """Decide whether the night of a change, which a number from 0 to 1 determines, is the last night or earlier."""
    return proposal.night + 1 + int(draw * CHANGE_NIGHTS) < settings.nights


def _early(settings: FaultySettings, item: SimObservation) -> SimObservation:
    """Move the exposure of some observations to a time after the release date, as in MAST."""
    is_early = _is_odd(settings, item, "early release")
    return replace(item, start_mjd=item.released_mjd + LEAD_DAYS) if is_early else item


def rows_of(settings: FaultySettings, observations: Iterable[SimObservation]) -> Iterator[SimObservation]:
    """Make one item per row of the observation table."""
    for item in observations:
        yield item
        if _is_odd(settings, item, "plane"):
            exposure_s = PLANE_EXPOSURE * item.exposure_s
            yield replace(item, plane=1, calib_level=item.calib_level - 1, exposure_s=exposure_s)
        if _is_odd(settings, item, "sky cell"):
            number = hash_seed("sky cell", item.obs_id) % SKY_CELLS
            name = (
                f"hst_skycell-p{number // 10_000:04d}x{number // 100 % 100:02d}y{number % 100:02d}_{item.band.lower()}"
            )
            yield replace(
                item, obs_id=f"{name}_all", obsid=SKY_CELL_OBSID + number, proposal_number="", is_hap=True, files=()
            )


def _is_odd(settings: FaultySettings, item: SimObservation, kind: str) -> bool:
    """Decide whether an observation has an oddity of this kind."""
    return bool(settings.odd_share) and python_rng(kind, item.obs_id).random() < settings.odd_share
