"""The simulated archive's content as metadata: proposals, observations and files, rendered only on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hubbleclip.settings import SimulatorSettings
from hubbleclip.simulator import products, telescope
from hubbleclip.simulator.draws import python_rng
from hubbleclip.simulator.frames import Frame, chip_frame, frame_of
from hubbleclip.simulator.instruments import CAMERAS, Filter
from hubbleclip.simulator.kinds import CALIBRATION
from hubbleclip.simulator.plans import Plan, Target, index_of, num_proposals, plan_of
from hubbleclip.simulator.proposals import ProposalText, write_proposal

FIRST_RELEASE_MJD = 60000.0
CYCLE_MJD = 52820.0
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
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
    """One simulated observation in the words of MAST's CAOM tables; `em_min`, `em_max` in nm."""

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
    em_min: float
    em_max: float
    products: tuple[SimProduct, ...]


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
    """The observations of a proposal: each of its targets through each of its filters."""
    plan = plan_of(settings, index_of(proposal.number))
    return tuple(
        _observation(settings, proposal, plan, place, filter_name)
        for place in range(len(plan.targets))
        for filter_name in plan.filters
    )


def _observation(
    settings: SimulatorSettings, proposal: SimProposal, plan: Plan, place: int, filter_name: str
) -> SimObservation:
    target, camera = plan.targets[place], CAMERAS[plan.camera]
    band, frame, order = camera.filter(filter_name), frame_of(settings, plan, target), plan.filters.index(filter_name)
    is_single = _is_single(settings, plan, place)
    obs_id = _obs_id(plan, place, order, is_single)
    seen = chip_frame(settings, frame) if is_single else frame
    corners = "  ".join(f"{ra_deg:.8f} {dec_deg:.8f}" for ra_deg, dec_deg in seen.outline(camera))
    return SimObservation(
        obs_id=obs_id, obsid=2_100_000_000 + plan.index * 16 + place * 8 + order, proposal_number=plan.number,
        instrument=camera.name, filters=products.filters_label(camera, band),
        target_name=target.name.upper().replace(" ", "-"),
        target_class=f"SIMULATED;{plan.kind.name.upper()}", kind=plan.kind.name, is_moving=plan.kind.is_moving,
        ra_deg=frame.ra_deg, dec_deg=frame.dec_deg, footprint=f"POLYGON ICRS  {corners}",
        start_mjd=_start_mjd(settings, plan, place, order), exposure_s=_exposure_s(settings, plan, band),
        calib_level=2 if is_single else 3, released_mjd=_released_mjd(settings, plan, place, order),
        title=proposal.title,
        em_min=band.wave_nm - band.width_nm / 2, em_max=band.wave_nm + band.width_nm / 2,
        products=tuple(_products(settings, plan, frame, obs_id, is_single)),
    )  # fmt: skip


def _is_single(settings: SimulatorSettings, plan: Plan, place: int) -> bool:
    """Whether the visit gave single exposures only, which the archive keeps uncombined."""
    share = SINGLE_EXPOSURE_SHARE * (2 if plan.kind.is_moving else 1)
    return plan.kind is CALIBRATION or python_rng(settings.seed, "single", plan.index, place).random() < share


def _obs_id(plan: Plan, place: int, order: int, is_single: bool) -> str:
    """Name of the form ipppssoot; WFPC2's is upper case in the archive."""
    low, high = plan.index % 36**3, plan.index // 36**3
    program = "".join(DIGITS[low // 36**k % 36] for k in (2, 1, 0))
    letter = CAMERAS[plan.camera].letter
    name = (
        f"{letter}{program}{DIGITS[high]}{place + 1}{order + 1}{'1' if is_single else '0'}{'q' if is_single else '0'}"
    )
    return name.upper() if letter == "u" else name


def _start_mjd(settings: SimulatorSettings, plan: Plan, place: int, order: int) -> float:
    rng = python_rng(settings.seed, "start", plan.index, place)
    return round(CYCLE_MJD + 365.25 * (plan.cycle - 12) + rng.uniform(0, 365) + 0.021 * order, 8)


def _exposure_s(settings: SimulatorSettings, plan: Plan, band: Filter) -> float:
    low, high = plan.kind.exposure_s
    rng = python_rng(settings.seed, "exposure", plan.index, band.name)
    longer = 1.8 if band.line else 1.0
    return float(round(longer * low * (high / low) ** rng.random()))


def _released_mjd(settings: SimulatorSettings, plan: Plan, place: int, order: int) -> float:
    """Release times rise with the proposal's place in its night, and no night reaches into the next."""
    night, number = divmod(plan.index, settings.num_proposals)
    return round(FIRST_RELEASE_MJD + night + 0.9 * (number + (place * 4 + order) / 16) / settings.num_proposals, 6)


def _products(
    settings: SimulatorSettings, plan: Plan, frame: Frame, obs_id: str, is_single: bool
) -> Iterator[SimProduct]:
    camera, stem = CAMERAS[plan.camera], obs_id.lower()
    for listed in products.listed(camera, is_single):
        file_name = f"{stem}_{listed.suffix}"
        yield SimProduct(
            file_name=file_name, uri=f"mast:HST/product/{file_name}", kind=listed.kind, description=listed.description,
            product_type=listed.product_type, size_bytes=telescope.file_size(settings, camera, frame, listed.kind),
        )  # fmt: skip


def render_product(settings: SimulatorSettings, observation: SimObservation, product: SimProduct) -> bytes:
    """The bytes of one file, `product.size_bytes` of them: FITS, or JPEG for a preview. Pure in its arguments."""
    plan = plan_of(settings, index_of(observation.proposal_number))
    target: Target = plan.targets[int(observation.obs_id[5]) - 1]
    exposure = telescope.Exposure(
        plan=plan, target=target, frame=frame_of(settings, plan, target), camera=CAMERAS[plan.camera],
        band=CAMERAS[plan.camera].filter(products.filter_of(observation.filters)), exposure_s=observation.exposure_s,
        start_mjd=observation.start_mjd, obs_id=observation.obs_id, seed=settings.seed,
        pi=write_proposal(settings.seed, plan).pi,
    )  # fmt: skip
    return telescope.render_file(settings, exposure, product.kind, product.file_name)
