"""What each proposal observes: kind of object, camera, filters and targets. Texts and images are derived from the
plan.
"""

from __future__ import annotations

import math
import random
import re
import string
from dataclasses import dataclass, replace
from functools import lru_cache

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.simulator.instruments import CAMERAS, SCHEDULES
from hubbleclip.simulator.object_kinds import CALIBRATION, FILTER_PLANS, OBJECT_KINDS, ObjectKind
from hubbleclip.simulator.random_draws import hash_seed, python_rng

FIRST_NUMBER = 10001  # Five digits, as HST's proposal numbers.
MAX_PROPOSALS = 99999 - FIRST_NUMBER + 1
# Fractions of all proposals.
CALIBRATION_FRACTION = 0.03
SAME_FIELD_FRACTION = 0.13
CONTINUATION_FRACTION = 0.04
TWO_TARGETS_FRACTION = 0.12
FIELD_PATTERN = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One field of the sky.

    `half_field_arcsec` is half the side of the field, in arcseconds. Equal `scene_key` means the same objects at the
    same position.
    """

    name: str
    scene_key: int
    variant: str
    ra_deg: float
    dec_deg: float
    half_field_arcsec: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservingPlan:
    """What the proposal at `index` observes.

    `parent` is the index of the proposal whose field it observes again; a continuation also repeats its abstract.
    """

    index: int
    kind: ObjectKind
    cycle: int
    camera: str
    filters: tuple[str, ...]
    targets: tuple[Target, ...]
    parent: int | None
    is_continuation: bool

    @property
    def number(self) -> str:
        """Proposal number as the archive writes it."""
        return f"{FIRST_NUMBER + self.index:05d}"


def proposal_index(number: str) -> int:
    """Convert a proposal number to its index.

    Parameters
    ----------
    number
        Five-digit number.

    Returns
    -------
    int
        Index from 0.

    """
    return int(number) - FIRST_NUMBER


def total_proposals(settings: SimulatorSettings) -> int:
    """Count the proposals of all nights.

    Parameters
    ----------
    settings
        Number of proposals per night and number of nights.

    Returns
    -------
    int
        Number of proposals.

    Raises
    ------
    SettingsError
        The proposal numbers would need six digits.

    """
    total = settings.num_proposals * settings.nights
    if total > MAX_PROPOSALS:
        raise SettingsError(
            f"simulator.num_proposals * simulator.nights is {total}: set them to at most {MAX_PROPOSALS}"
        )
    return total


@lru_cache(maxsize=4096)
def plan_of(settings: SimulatorSettings, index: int) -> ObservingPlan:
    """Make the plan of one proposal without the others (except its parent's).

    Parameters
    ----------
    settings
        Settings of the archive.
    index
        Index of the proposal.

    Returns
    -------
    ObservingPlan
        Plan of the proposal.

    """
    kind, parent, is_continuation = _parent_of(settings, index)
    if parent is None:
        return _new_plan(settings, index, kind)
    first = _new_plan(settings, parent, kind)
    own = _new_plan(settings, index, kind, sibling_of=first.camera)
    filters = first.filters if own.camera == first.camera and is_continuation else own.filters
    return replace(own, filters=filters, targets=first.targets, parent=parent, is_continuation=is_continuation)


def _parent_of(settings: SimulatorSettings, index: int) -> tuple[ObjectKind, int | None, bool]:
    """Return the kind of object, the parent's index if any, and whether the proposal continues its parent."""
    kind, draw, parent = _draw_parent(settings.seed, index)
    # A parent never has a parent itself: one level keeps plans cheap to make.
    if parent is None or _draw_parent(settings.seed, parent)[2] is not None:
        return kind, None, False
    return kind, parent, draw < CONTINUATION_FRACTION


def _draw_parent(seed: int, index: int) -> tuple[ObjectKind, float, int | None]:
    """Draw kind, a number from 0 to 1 that decides on continuation, and a candidate for the parent."""
    rng = python_rng(seed, "relation", index)
    block, position = divmod(index, len(OBJECT_KINDS))
    name = _kind_order(seed, block)[position]
    if rng.random() < CALIBRATION_FRACTION:
        return CALIBRATION, 1.0, None
    kind, draw = OBJECT_KINDS[name], rng.random()
    # Moving targets have no field to return to.
    if block == 0 or kind.is_moving or draw >= CONTINUATION_FRACTION + SAME_FIELD_FRACTION:
        return kind, draw, None
    earlier_block = rng.randrange(block)
    parent = earlier_block * len(OBJECT_KINDS) + _kind_order(seed, earlier_block).index(name)
    # First draw of the parent's own generator: was it a calibration?
    is_science = python_rng(seed, "relation", parent).random() >= CALIBRATION_FRACTION
    return kind, draw, parent if is_science else None


@lru_cache(maxsize=4096)
def _kind_order(seed: int, block: int) -> tuple[str, ...]:
    """Shuffle the kinds within a block of proposals, so that any number of proposals has about equal shares."""
    names = list(OBJECT_KINDS)
    python_rng(seed, "order", block).shuffle(names)
    return tuple(names)


def _draw_cycle(settings: SimulatorSettings, index: int) -> int:
    """Return the cycle: the proposals of a night are spread evenly over all cycles."""
    position = index % settings.num_proposals
    schedule = SCHEDULES[settings.mission]
    return schedule.first_cycle + schedule.num_cycles * position // settings.num_proposals


def _new_plan(settings: SimulatorSettings, index: int, kind: ObjectKind, sibling_of: str = "") -> ObservingPlan:
    """Make a plan as if the proposal had no parent; `sibling_of` is the parent's camera, if it has one."""
    seed, cycle = settings.seed, _draw_cycle(settings, index)
    rng = python_rng(seed, "plan", index)
    camera = _choose_camera(rng, settings.mission, cycle, sibling_of)
    filters = _choose_filters(rng, kind, camera)
    num_targets = 1 + (rng.random() < TWO_TARGETS_FRACTION)
    half_field = CAMERAS[camera].pixel_scale_arcsec * settings.frame_px / 2
    targets = tuple(_target(rng, kind, hash_seed(seed, "scene", index, i), half_field) for i in range(num_targets))
    return ObservingPlan(
        index=index, kind=kind, cycle=cycle, camera=camera, filters=filters, targets=targets, parent=None,
        is_continuation=False,
    )  # fmt: skip


def _choose_camera(rng: random.Random, mission: str, cycle: int, sibling_of: str) -> str:
    """Choose a camera that flies in this cycle; for a field observed before, one with a similar field of view."""
    cameras = {name: camera for name, camera in CAMERAS.items() if camera.mission == mission}
    available = [name for name, camera in cameras.items() if camera.first_cycle <= cycle <= camera.last_cycle]
    choice, is_same_camera = rng.choice(available), rng.random() < 0.6
    if not sibling_of:
        return choice
    wanted = sibling_of if is_same_camera else CAMERAS[sibling_of].sibling
    return next((name for name in (wanted, sibling_of, CAMERAS[sibling_of].sibling) if name in available), choice)


def _choose_filters(rng: random.Random, kind: ObjectKind, camera: str) -> tuple[str, ...]:
    """Choose two to four filters, in the order of the kind's filter plan."""
    available = FILTER_PLANS[kind.filters].get(camera) or tuple(band.name for band in CAMERAS[camera].filters)
    count = min(len(available), rng.choices((2, 3, 4), (72, 20, 8))[0])
    chosen = {available[0], *rng.sample(available, count)} if rng.random() < 0.5 else set(rng.sample(available, count))
    return tuple(name for name in available if name in chosen)[:count]


def _target(rng: random.Random, kind: ObjectKind, scene_key: int, half_field_arcsec: float) -> Target:
    """Draw a target of a kind: variant, position and name."""
    variant = rng.choice(kind.variants)
    ra_deg, dec_deg = _position(rng, kind)
    return Target(
        name=_name(rng, kind, variant, ra_deg, dec_deg), scene_key=scene_key, variant=variant, ra_deg=ra_deg,
        dec_deg=dec_deg,
        half_field_arcsec=half_field_arcsec,
    )  # fmt: skip


def _position(rng: random.Random, kind: ObjectKind) -> tuple[float, float]:
    """Draw (ra, dec) in degrees, uniform on the sphere; solar-system objects near the ecliptic."""
    ra_deg, height = rng.uniform(0, 360), rng.uniform(-0.97, 0.97)  # Uniform in sin(dec), without the poles.
    if kind.is_moving:
        return ra_deg, rng.uniform(-23, 23)
    return ra_deg, math.degrees(math.asin(height))


def _name(rng: random.Random, kind: ObjectKind, variant: str, ra_deg: float, dec_deg: float) -> str:
    """Make a catalogue name in one of the kind's styles; names made of coordinates agree with the position."""
    sign, height = "-" if dec_deg < 0 else "+", abs(dec_deg)
    values = {
        "variant": variant, "hhmm": f"{int(ra_deg / 15):02d}{int(ra_deg * 4) % 60:02d}",
        "ss": f"{int(ra_deg * 240) % 60:02d}",
        "sdd": f"{sign}{int(height):02d}", "mm": f"{int(height * 60) % 60:02d}", "d": f"{int(height * 10) % 10}",
    }  # fmt: skip
    return FIELD_PATTERN.sub(lambda match: values.get(match[1]) or _fill_field(rng, match[1]), rng.choice(kind.names))


def _fill_field(rng: random.Random, field: str) -> str:
    """Return a random letter for `L`, a year for `y`, or a number of k digits for `nk`."""
    if field == "L":
        return rng.choice(string.ascii_uppercase)
    if field == "y":
        return str(rng.randrange(1996, 2021))
    digits = int(field[1:])
    return str(rng.randrange(10 ** (digits - 1), 10**digits))
