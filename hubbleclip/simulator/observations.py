"""Make simulated proposals, observations and files. Their metadata is computed without rendering the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.io import write_bytes
from hubbleclip.simulator import products
from hubbleclip.simulator.frames import Frame, combined_frame, detector_frame
from hubbleclip.simulator.instruments import CAMERAS, SCHEDULES, Camera, Filter
from hubbleclip.simulator.missions import sim_mission
from hubbleclip.simulator.object_kinds import CALIBRATION
from hubbleclip.simulator.plans import ObservingPlan, Target, plan_of, proposal_index, total_proposals
from hubbleclip.simulator.proposals import ProposalText, write_proposal
from hubbleclip.simulator.random_draws import python_rng

FIRST_RELEASE_MJD = 60000.0  # Start of night 0: 2023-02-25.
# Each proposal has its own range of `obsid` values, so that an `obsid` does not depend on other proposals.
FIRST_OBSID, OBSIDS_PER_PROPOSAL = 2_100_000_000, 16
FIRST_HAP_OBSID, HAP_OBSIDS_PER_PROPOSAL = 2_110_000_000, 64
SINGLE_EXPOSURE_FRACTION = 0.1
EXAMPLE_PROPOSAL = 5
"""Index of the proposal from which `example_file` takes its file; the proposal observes a spiral galaxy."""


class SkySettings(SimulatorSettings):
    """Settings of the simulated archive, and further settings that only tests and benchmarks change."""

    observations_per_proposal: int = Field(0, ge=0, le=OBSIDS_PER_PROPOSAL)
    """Number of observations per proposal; 0 means that a small number is drawn for each proposal, as in the demo.
    Hubble Advanced Products are not counted.
    """
    hap_share: float = Field(0.0, ge=0, le=1)
    """Share of visits that the archive also lists as Hubble Advanced Products (single-filter and total)."""
    late_share: float = Field(0.0, ge=0, le=1)
    """Share of each night's observations that the archive lists with a delay of one night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimProposal:
    """One simulated proposal.

    `kind` is the kind of object that the proposal observes. `night` is the night, counted from 0, on which the
    observations of the proposal are released.
    """

    number: str
    cycle: int
    proposal_type: str
    category: str
    title: str
    pi: str
    abstract: str
    kind: str
    is_calibration: bool
    night: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimProduct:
    """One file of an observation.

    `kind` is the type of file, as in MAST's column `productSubGroupDescription`. `size_bytes` is the exact size, which
    is computed without rendering the file.
    """

    file_name: str
    uri: str
    kind: str
    description: str
    product_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimObservation:
    """One simulated observation, with the fields of MAST's CAOM tables.

    `kind` is the kind of object. `em_min` and `em_max` are the wavelength limits of the filter in nm. `released_mjd` is
    the release date. `visit_index` is the index of the visit within the proposal, from 0. `band` is the name of the
    filter with which the files are rendered. `files` has the type and the size in bytes of each file. `version` is the
    number of times that the observation was reprocessed. `is_hap` is True for a Hubble Advanced Product (HAP). `plane`
    is the index of the CAOM plane within the observation, from 0.
    """

    obs_id: str
    obsid: int
    proposal_number: str
    instrument: str
    filters: str
    target_name: str
    target_class: str
    kind: str
    is_moving: bool
    ra_deg: float
    dec_deg: float
    footprint: str
    start_mjd: float
    exposure_s: float
    calib_level: int
    released_mjd: float
    title: str
    em_min: float | None
    em_max: float | None
    visit_index: int
    band: str
    files: tuple[tuple[products.FileType, int], ...]
    version: int = 0
    is_hap: bool = False
    collection: str = "HST"
    plane: int = 0

    @property
    def extra_blocks(self) -> int:
        """Number of FITS blocks that reprocessing has added to each file.

        It equals `version` if `obsid` is odd, and is 0 otherwise.
        """
        # Half of the observations keep their size, so that tests include new versions of equal size.
        return self.version * (self.obsid % 2)

    @property
    def products(self) -> tuple[SimProduct, ...]:
        """Files of the observation. They are not stored, because a large archive has millions of files."""
        stem, grown_bytes = self.obs_id.lower(), self.extra_blocks * products.BLOCK_BYTES
        names = [f"{stem}_{file_type.suffix}" for file_type, _ in self.files]
        return tuple(
            SimProduct(
                file_name=name,
                uri=f"mast:{self.collection}/product/{name}",
                kind=file_type.kind,
                description=file_type.description,
                product_type=file_type.product_type,
                size_bytes=size_bytes + grown_bytes,
            )
            for name, (file_type, size_bytes) in zip(names, self.files, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One visit of a proposal, with the values that all observations of the visit share.

    `is_single` is True if the visit has single exposures but no drizzled image.
    """

    settings: SkySettings
    proposal: SimProposal
    plan: ObservingPlan
    visit_index: int
    camera: Camera
    target: Target
    frame: Frame
    footprint: str
    is_single: bool


def make_proposals(settings: SimulatorSettings) -> list[SimProposal]:
    """Make all proposals of all nights that the settings define."""
    return [proposal_at(settings, index) for index in range(total_proposals(settings))]


def proposal_at(settings: SimulatorSettings, index: int) -> SimProposal:
    """Make one proposal without making the others."""
    plan = plan_of(settings, index)
    text: ProposalText = write_proposal(plan)
    return SimProposal(
        number=plan.number,
        cycle=plan.cycle,
        proposal_type=text.proposal_type,
        category=text.category,
        title=text.title,
        pi=text.pi,
        abstract=text.abstract,
        kind=plan.kind.name,
        is_calibration=plan.kind is CALIBRATION,
        night=index // settings.num_proposals,
    )


def observations_of(settings: SkySettings, proposal: SimProposal) -> tuple[SimObservation, ...]:
    """List the observations of a proposal: one per visit and filter, followed by the HAP products."""
    plan = plan_of(settings, proposal_index(proposal.number))
    num_wanted = settings.observations_per_proposal
    # If `observations_per_proposal` is 0, each target has one visit through all filters.
    num_visits = -(-num_wanted // len(plan.filters)) or len(plan.targets)
    visits = [_visit(settings, proposal, plan, visit_index) for visit_index in range(num_visits)]
    standard = [_observation(visit, filter_index) for visit in visits for filter_index in range(len(plan.filters))][
        : num_wanted or None
    ]
    observations = [
        *standard,
        *(item for visit in visits if _has_hap(visit) for item in _hap_observations(visit, standard)),
    ]
    return tuple(
        _newest_version(settings, proposal, item)
        for item in observations
        if not _is_listed_late(settings, proposal, item)
    )


def _visit(settings: SkySettings, proposal: SimProposal, plan: ObservingPlan, visit_index: int) -> Visit:
    """Make a visit: its target, frame and footprint."""
    target, camera = plan.targets[visit_index % len(plan.targets)], CAMERAS[plan.camera]
    frame, is_single = combined_frame(settings, plan, target), _is_single(settings, plan, visit_index)
    # A single exposure has the frame of the detector. In a drizzled image, the detector is tilted within the frame.
    outlined = detector_frame(settings, frame) if is_single else frame
    corners = "  ".join(f"{ra_deg:.8f} {dec_deg:.8f}" for ra_deg, dec_deg in outlined.detector_outline(camera))
    return Visit(
        settings=settings,
        proposal=proposal,
        plan=plan,
        visit_index=visit_index,
        camera=camera,
        target=target,
        frame=frame,
        footprint=f"POLYGON ICRS  {corners}",
        is_single=is_single,
    )


def _observation(visit: Visit, filter_index: int) -> SimObservation:
    """Make the observation of a visit through one filter."""
    settings, plan, camera, visit_index = visit.settings, visit.plan, visit.camera, visit.visit_index
    band = camera.filter(plan.filters[filter_index])
    mission = sim_mission(settings)
    file_types = mission.file_types(camera, visit.is_single)
    if settings.previews and mission.has_hap:
        file_types += products.extra_preview_types(camera, visit.is_single, is_first=filter_index == 0)
    return SimObservation(
        obs_id=mission.observation_name(plan, visit_index, filter_index, visit.is_single),
        obsid=FIRST_OBSID + plan.index * OBSIDS_PER_PROPOSAL + _obsid_offset(settings, plan, visit_index, filter_index),
        proposal_number=plan.number,
        instrument=mission.instrument_label(camera),
        filters=mission.mast_filters(camera, band),
        collection=mission.collection,
        target_name=visit.target.name.upper().replace(" ", "-"),
        target_class=f"SIMULATED;{plan.kind.name.upper()}",
        kind=plan.kind.name,
        is_moving=plan.kind.is_moving,
        ra_deg=visit.frame.ra_deg,
        dec_deg=visit.frame.dec_deg,
        footprint=visit.footprint,
        start_mjd=_start_mjd(settings, plan, visit_index, filter_index),
        exposure_s=_exposure_s(settings, plan, band),
        calib_level=2 if visit.is_single else 3,
        released_mjd=_released_mjd(settings, plan, visit_index, filter_index),
        title=visit.proposal.title,
        em_min=band.wave_nm - band.width_nm / 2,
        em_max=band.wave_nm + band.width_nm / 2,
        visit_index=visit_index,
        band=band.name,
        files=_with_sizes(visit, file_types),
    )


def _obsid_offset(settings: SkySettings, plan: ObservingPlan, visit_index: int, filter_index: int) -> int:
    """Return the number of the observation within its proposal, from 0 to OBSIDS_PER_PROPOSAL - 1."""
    # If the number of observations is not fixed, there are at most two visits, and each visit reserves 8 numbers.
    return visit_index * (len(plan.filters) if settings.observations_per_proposal else 8) + filter_index


def _with_sizes(visit: Visit, file_types: tuple[products.FileType, ...]) -> tuple[tuple[products.FileType, int], ...]:
    """Pair each file type with the size of the file in bytes."""
    return _cached_sizes(visit.settings.frame_px, visit.camera.name, file_types, visit.frame.num_y, visit.frame.num_x)


@lru_cache(maxsize=8192)
def _cached_sizes(
    frame_px: int, camera: str, file_types: tuple[products.FileType, ...], num_y: int, num_x: int
) -> tuple[tuple[products.FileType, int], ...]:
    """Compute file sizes in bytes; the cache saves memory, because observations with equal sizes share one tuple."""
    return tuple(
        (file_type, products.file_size(frame_px, CAMERAS[camera], (num_y, num_x), file_type.kind))
        for file_type in file_types
    )


def _has_hap(visit: Visit) -> bool:
    """Decide whether the visit has Hubble Advanced Products; WFPC2 and moving targets never have such products."""
    has_hap = sim_mission(visit.settings).has_hap
    is_eligible = has_hap and not (visit.is_single or visit.plan.kind.is_moving or visit.camera.instrument == "WFPC2")
    rng = python_rng("advanced", visit.plan.index, visit.visit_index)
    return is_eligible and rng.random() < visit.settings.hap_share


def _hap_observations(visit: Visit, standard: Sequence[SimObservation]) -> Iterator[SimObservation]:
    """Yield the HAP products of a visit: one product per filter, then the total product, which combines all filters."""
    members = [item for item in standard if item.visit_index == visit.visit_index]
    # A visit has at most 8 products.
    first_obsid = FIRST_HAP_OBSID + visit.plan.index * HAP_OBSIDS_PER_PROPOSAL + visit.visit_index * 8
    filter_files, total_files = (
        _with_sizes(visit, products.hap_file_types(visit.camera, is_total)) for is_total in (False, True)
    )

    def hap_observation(item: SimObservation, filter_index: int, filter_name: str, **changes: Any) -> SimObservation:
        name = products.hap_name(item.proposal_number, item.obs_id, visit.camera, filter_name)
        return replace(item, obs_id=name, obsid=first_obsid + filter_index, is_hap=True, **changes)

    for filter_index, item in enumerate(members):
        yield hap_observation(item, filter_index, item.band, filters=item.band, files=filter_files)
    exposure_s = sum(item.exposure_s for item in members)
    total_fields = {
        "filters": "detection",
        "exposure_s": exposure_s,
        "em_min": None,
        "em_max": None,
        "files": total_files,
    }
    yield hap_observation(members[0], len(members), "total", **total_fields)


def _is_listed_late(settings: SkySettings, proposal: SimProposal, item: SimObservation) -> bool:
    """Decide whether an observation is late, and therefore missing from the archive."""
    # A late observation is listed one night after its release, so only late observations of the last night are missing.
    is_newest = proposal.night == settings.nights - 1
    return is_newest and python_rng("late", item.obs_id).random() < settings.late_share


def _newest_version(settings: SimulatorSettings, proposal: SimProposal, item: SimObservation) -> SimObservation:
    """Set the version, which is the number of reprocessings; as in MAST, the release date does not change."""
    nights = range(proposal.night + 1, settings.nights) if settings.reprocessed_share else ()
    draws = (python_rng("reprocessed", night, item.obs_id).random() for night in nights)
    version = sum(draw < settings.reprocessed_share for draw in draws)
    return replace(item, version=version) if version else item


def _is_single(settings: SimulatorSettings, plan: ObservingPlan, visit_index: int) -> bool:
    """Decide whether the visit has single exposures but no drizzled image."""
    fraction = SINGLE_EXPOSURE_FRACTION * (2 if plan.kind.is_moving else 1)
    return plan.kind is CALIBRATION or python_rng("single", plan.index, visit_index).random() < fraction


def _start_mjd(settings: SimulatorSettings, plan: ObservingPlan, visit_index: int, filter_index: int) -> float:
    """Draw the start time of the observation (MJD) within the year of the proposal's cycle."""
    rng = python_rng("start", plan.index, visit_index)
    # Successive filters of a visit start 0.021 days (30 minutes) apart.
    schedule = SCHEDULES[settings.mission]
    cycle_mjd = schedule.first_mjd + 365.25 * (plan.cycle - schedule.first_cycle)
    return round(cycle_mjd + rng.uniform(0, 365) + 0.021 * filter_index, 8)


def _exposure_s(settings: SimulatorSettings, plan: ObservingPlan, band: Filter) -> float:
    """Draw an exposure time in seconds, uniform in its logarithm; narrow filters get longer exposures."""
    low, high = plan.kind.exposure_s
    rng = python_rng("exposure", plan.index, band.name)
    factor = 1.8 if band.line else 1.0  # Narrow filters pass less light.
    return float(round(factor * low * (high / low) ** rng.random()))


def _released_mjd(settings: SkySettings, plan: ObservingPlan, visit_index: int, filter_index: int) -> float:
    """Compute the release date (MJD) within the proposal's night; lower proposal numbers are released earlier."""
    night, proposal_in_night = divmod(plan.index, settings.num_proposals)
    offset = (
        _obsid_offset(settings, plan, visit_index, filter_index)
        if settings.observations_per_proposal
        else visit_index * 4 + filter_index
    )
    # The factor 0.9 makes all releases of a night end before the next night begins.
    return round(
        FIRST_RELEASE_MJD + night + 0.9 * (proposal_in_night + offset / OBSIDS_PER_PROPOSAL) / settings.num_proposals, 6
    )


def example_file(path: str | Path = "example.fits") -> Path:
    """Write an example FITS file: a spiral galaxy in the simulated sky, observed with ACS/WFC.

    Parameters
    ----------
    path : str or Path
        File to write.

    Returns
    -------
    path : Path
        The file. Equal versions of hubbleclip write equal bytes.
    """
    settings = SkySettings()
    observation = observations_of(settings, proposal_at(settings, EXAMPLE_PROPOSAL))[0]
    write_bytes(Path(path), render_product(settings, observation, observation.products[0]))
    return Path(path)


def render_product(settings: SimulatorSettings, observation: SimObservation, product: SimProduct) -> bytes:
    """Render one file; equal arguments give equal bytes."""
    from hubbleclip.simulator import telescope  # noqa: PLC0415 - an archive that only lists need not load astropy

    plan = plan_of(settings, proposal_index(observation.proposal_number))
    target = plan.targets[observation.visit_index % len(plan.targets)]
    exposure = telescope.Exposure(
        plan=plan,
        target=target,
        frame=combined_frame(settings, plan, target),
        camera=CAMERAS[plan.camera],
        band=CAMERAS[plan.camera].filter(observation.band),
        exposure_s=observation.exposure_s,
        start_mjd=observation.start_mjd,
        obs_id=observation.obs_id,
        pi=write_proposal(plan).pi,
        version=observation.version,
        extra_blocks=observation.extra_blocks,
    )
    return telescope.render_file(settings, exposure, product.kind, product.file_name)
