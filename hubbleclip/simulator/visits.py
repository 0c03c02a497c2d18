"""The simulated archive's content as metadata: proposals, observations and files, rendered only on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator import products, telescope
from hubbleclip.simulator.fits_headers import BLOCK_BYTES
from hubbleclip.simulator.frames import Frame, chip_frame, frame_of
from hubbleclip.simulator.instruments import CAMERAS, SCHEDULES, Camera, Filter
from hubbleclip.simulator.missions import sim_mission
from hubbleclip.simulator.object_kinds import CALIBRATION
from hubbleclip.simulator.plans import Plan, Target, index_of, num_proposals, plan_of
from hubbleclip.simulator.proposals import ProposalText, write_proposal
from hubbleclip.simulator.random_draws import python_rng

FIRST_RELEASE_MJD = 60000.0
FIRST_OBSID, SLOTS = 2_100_000_000, 16
FIRST_ADVANCED_OBSID, ADVANCED_SLOTS = 2_110_000_000, 64
SINGLE_EXPOSURE_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SimProposal:
    """One simulated proposal. `night` counts from 0: the night on which its observations are released."""

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
    """One file of an observation; `size_bytes` is exact, and known without making the file."""

    file_name: str
    uri: str
    kind: str
    description: str
    product_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimObservation:
    """One simulated observation in the words of MAST's CAOM tables; `em_min`, `em_max` in nm.

    `place` counts the visits of its proposal, `band` is the filter that its files show, `listing` has each file's
    form and size. `version` counts how often it was reprocessed; `is_advanced` marks a Hubble Advanced Product.
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
    place: int
    band: str
    listing: tuple[tuple[products.Listed, int], ...]
    version: int = 0
    is_advanced: bool = False
    collection: str = "HST"

    @property
    def extra_blocks(self) -> int:
        """FITS blocks by which each file has grown: one a version for every other observation."""
        return self.version * (self.obsid % 2)

    @property
    def products(self) -> tuple[SimProduct, ...]:
        """The files, made when asked for, since a large archive has millions."""
        stem, grown_bytes = self.obs_id.lower(), self.extra_blocks * BLOCK_BYTES
        names = [f"{stem}_{listed.suffix}" for listed, _ in self.listing]
        return tuple(
            SimProduct(
                file_name=name, uri=f"mast:{self.collection}/product/{name}", kind=listed.kind,
                description=listed.description,
                product_type=listed.product_type, size_bytes=size_bytes + grown_bytes,
            )
            for name, (listed, size_bytes) in zip(names, self.listing, strict=True)
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the observations of one visit of a proposal share."""

    settings: SimulatorSettings
    proposal: SimProposal
    plan: Plan
    place: int
    camera: Camera
    target: Target
    frame: Frame
    footprint: str
    is_single: bool


def make_proposals(settings: SimulatorSettings) -> list[SimProposal]:
    """All proposals of the nights released so far, in the order of their numbers."""
    return [proposal_at(settings, index) for index in range(num_proposals(settings))]


def proposal_at(settings: SimulatorSettings, index: int) -> SimProposal:
    """The proposal at `index`, made without the others."""
    plan = plan_of(settings, index)
    text: ProposalText = write_proposal(settings.seed, plan)
    return SimProposal(
        number=plan.number, cycle=plan.cycle, proposal_type=text.proposal_type, category=text.category,
        title=text.title,
        pi=text.pi, abstract=text.abstract, kind=plan.kind.name, is_calibration=plan.kind is CALIBRATION,
        night=index // settings.num_proposals,
    )  # fmt: skip


def observations_of(settings: SimulatorSettings, proposal: SimProposal) -> tuple[SimObservation, ...]:
    """The observations of a proposal that are listed so far: each visit's target through each of the filters."""
    plan = plan_of(settings, index_of(proposal.number))
    num = settings.observations_per_proposal
    num_visits = -(-num // len(plan.filters)) or len(plan.targets)
    visits = [_visit(settings, proposal, plan, place) for place in range(num_visits)]
    plain = [_observation(visit, order) for visit in visits for order in range(len(plan.filters))][: num or None]
    found = [*plain, *(item for visit in visits if _is_advanced(visit) for item in _advanced(visit, plain))]
    return tuple(_newest_version(settings, proposal, item) for item in found if not _is_late(settings, proposal, item))


def _visit(settings: SimulatorSettings, proposal: SimProposal, plan: Plan, place: int) -> Visit:
    target, camera = plan.targets[place % len(plan.targets)], CAMERAS[plan.camera]
    frame, is_single = frame_of(settings, plan, target), _is_single(settings, plan, place)
    seen = chip_frame(settings, frame) if is_single else frame
    corners = "  ".join(f"{ra_deg:.8f} {dec_deg:.8f}" for ra_deg, dec_deg in seen.outline(camera))
    return Visit(
        settings=settings, proposal=proposal, plan=plan, place=place, camera=camera, target=target, frame=frame,
        footprint=f"POLYGON ICRS  {corners}", is_single=is_single,
    )  # fmt: skip


def _observation(visit: Visit, order: int) -> SimObservation:
    settings, plan, camera, place = visit.settings, visit.plan, visit.camera, visit.place
    band = camera.filter(plan.filters[order])
    mission = sim_mission(settings)
    listed = mission.listed(camera, visit.is_single)
    if settings.previews and mission.has_advanced:
        listed += products.more_previews(camera, visit.is_single, is_first=order == 0)
    return SimObservation(
        obs_id=mission.observation_name(plan, place, order, visit.is_single),
        obsid=FIRST_OBSID + plan.index * SLOTS + _slot(settings, plan, place, order), proposal_number=plan.number,
        instrument=mission.instrument_label(camera), filters=mission.filters_label(camera, band),
        collection=mission.collection,
        target_name=visit.target.name.upper().replace(" ", "-"),
        target_class=f"SIMULATED;{plan.kind.name.upper()}", kind=plan.kind.name, is_moving=plan.kind.is_moving,
        ra_deg=visit.frame.ra_deg, dec_deg=visit.frame.dec_deg, footprint=visit.footprint,
        start_mjd=_start_mjd(settings, plan, place, order), exposure_s=_exposure_s(settings, plan, band),
        calib_level=2 if visit.is_single else 3, released_mjd=_released_mjd(settings, plan, place, order),
        title=visit.proposal.title,
        em_min=band.wave_nm - band.width_nm / 2, em_max=band.wave_nm + band.width_nm / 2,
        place=place, band=band.name, listing=_sized(visit, listed),
    )  # fmt: skip


def _slot(settings: SimulatorSettings, plan: Plan, place: int, order: int) -> int:
    """The observation's number within its proposal, below SLOTS."""
    return place * (len(plan.filters) if settings.observations_per_proposal else 8) + order


def _sized(visit: Visit, listed: tuple[products.Listed, ...]) -> tuple[tuple[products.Listed, int], ...]:
    return _listing(visit.settings.frame_px, visit.camera.name, listed, visit.frame.num_y, visit.frame.num_x)


@lru_cache(maxsize=8192)
def _listing(
    frame_px: int, camera: str, listed: tuple[products.Listed, ...], num_y: int, num_x: int
) -> tuple[tuple[products.Listed, int], ...]:
    """Files with their sizes, one object for all observations that have the same."""
    return tuple((item, telescope.file_size(frame_px, CAMERAS[camera], (num_y, num_x), item.kind)) for item in listed)


def _is_advanced(visit: Visit) -> bool:
    """Whether the visit is among the Hubble Advanced Products too, which hold no WFPC2 and nothing that moves."""
    has_advanced = sim_mission(visit.settings).has_advanced
    is_fit = has_advanced and not (visit.is_single or visit.plan.kind.is_moving or visit.camera.instrument == "WFPC2")
    rng = python_rng(visit.settings.seed, "advanced", visit.plan.index, visit.place)
    return is_fit and rng.random() < visit.settings.hap_share


def _advanced(visit: Visit, plain: Sequence[SimObservation]) -> Iterator[SimObservation]:
    """Each filter of the visit once more under another name, and the total of them."""
    members = [item for item in plain if item.place == visit.place]
    first_obsid = FIRST_ADVANCED_OBSID + visit.plan.index * ADVANCED_SLOTS + visit.place * 8
    single, total = (_sized(visit, products.advanced(visit.camera, is_total)) for is_total in (False, True))

    def named(item: SimObservation, order: int, filter_name: str, **changes: Any) -> SimObservation:
        name = products.advanced_name(item.proposal_number, item.obs_id, visit.camera, filter_name)
        return replace(item, obs_id=name, obsid=first_obsid + order, is_advanced=True, **changes)

    for order, item in enumerate(members):
        yield named(item, order, item.band, filters=item.band, listing=single)
    exposure_s = sum(item.exposure_s for item in members)
    whole = {"filters": "detection", "exposure_s": exposure_s, "em_min": None, "em_max": None, "listing": total}
    yield named(members[0], len(members), "total", **whole)


def _is_late(settings: SimulatorSettings, proposal: SimProposal, item: SimObservation) -> bool:
    """Whether the archive lists the observation only from the night after its own."""
    is_newest = proposal.night == settings.nights - 1
    return is_newest and python_rng(settings.seed, "late", item.obs_id).random() < settings.late_share


def _newest_version(settings: SimulatorSettings, proposal: SimProposal, item: SimObservation) -> SimObservation:
    """The observation in its newest version; its release date stays, as MAST's do."""
    nights = range(proposal.night + 1, settings.nights) if settings.reprocessed_share else ()
    draws = (python_rng(settings.seed, "reprocessed", night, item.obs_id).random() for night in nights)
    version = sum(draw < settings.reprocessed_share for draw in draws)
    return replace(item, version=version) if version else item


def _is_single(settings: SimulatorSettings, plan: Plan, place: int) -> bool:
    """Whether the visit gave single exposures only, which the archive keeps uncombined."""
    share = SINGLE_EXPOSURE_SHARE * (2 if plan.kind.is_moving else 1)
    return plan.kind is CALIBRATION or python_rng(settings.seed, "single", plan.index, place).random() < share


def _start_mjd(settings: SimulatorSettings, plan: Plan, place: int, order: int) -> float:
    rng = python_rng(settings.seed, "start", plan.index, place)
    schedule = SCHEDULES[settings.mission]
    return round(
        schedule.first_mjd + 365.25 * (plan.cycle - schedule.first_cycle) + rng.uniform(0, 365) + 0.021 * order, 8
    )


def _exposure_s(settings: SimulatorSettings, plan: Plan, band: Filter) -> float:
    low, high = plan.kind.exposure_s
    rng = python_rng(settings.seed, "exposure", plan.index, band.name)
    longer = 1.8 if band.line else 1.0
    return float(round(longer * low * (high / low) ** rng.random()))


def _released_mjd(settings: SimulatorSettings, plan: Plan, place: int, order: int) -> float:
    """Release times rise with the proposal's place in its night, and no night reaches into the next."""
    night, number = divmod(plan.index, settings.num_proposals)
    slot = _slot(settings, plan, place, order) if settings.observations_per_proposal else place * 4 + order
    return round(FIRST_RELEASE_MJD + night + 0.9 * (number + slot / SLOTS) / settings.num_proposals, 6)


def render_product(settings: SimulatorSettings, observation: SimObservation, product: SimProduct) -> bytes:
    """The bytes of one file, `product.size_bytes` of them: FITS, or JPEG for a preview. Pure in its arguments."""
    plan = plan_of(settings, index_of(observation.proposal_number))
    target = plan.targets[observation.place % len(plan.targets)]
    exposure = telescope.Exposure(
        plan=plan, target=target, frame=frame_of(settings, plan, target), camera=CAMERAS[plan.camera],
        band=CAMERAS[plan.camera].filter(observation.band), exposure_s=observation.exposure_s,
        start_mjd=observation.start_mjd, obs_id=observation.obs_id, seed=settings.seed,
        pi=write_proposal(settings.seed, plan).pi, version=observation.version,
        extra_blocks=observation.extra_blocks,
    )  # fmt: skip
    return telescope.render_file(settings, exposure, product.kind, product.file_name)
