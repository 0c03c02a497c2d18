"""Make the observing plans of the simulated proposals.

A plan has the kind of object, the camera, the filters and the targets. A proposal's texts and images are derived from
its plan.
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

FIRST_NUMBER = 10001  # Proposal numbers have five digits, as for HST.
MAX_PROPOSALS = 99999 - FIRST_NUMBER + 1
# The next four constants are fractions of all proposals.
CALIBRATION_FRACTION = 0.03
SAME_FIELD_FRACTION = 0.13
CONTINUATION_FRACTION = 0.04
TWO_TARGETS_FRACTION = 0.12
FIELD_PATTERN = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Target of a proposal: a field on the sky with an object at its centre.

    `half_field_arcsec` is half the side of the field, in arcseconds. Targets with equal `scene_key` show the same
    objects at the same position.
    """

    name: str
    scene_key: int
    variant: str
    ra_deg: float
    dec_deg: float
    half_field_arcsec: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservingPlan:
    """Observing plan of the proposal at position `index` of the archive, counted from 0.

    If this proposal observes the field of an earlier proposal again, `parent` is the index of the earlier proposal. If
    `is_continuation` is True, this proposal also repeats the abstract of its parent.
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
        """Number of the proposal, as five digits."""
        return f"{FIRST_NUMBER + self.index:05d}"


def proposal_index(number: str) -> int:
    """Convert a proposal number to its index, from 0."""
    return int(number) - FIRST_NUMBER


def total_proposals(settings: SimulatorSettings) -> int:
    """Count the proposals of all nights. Raises SettingsError if there are too many for five-digit numbers."""
    total = settings.num_proposals * settings.nights
    if total > MAX_PROPOSALS:
        raise SettingsError(
            f"simulator.num_proposals * simulator.nights is {total}: the product must be at most {MAX_PROPOSALS}"
        )
    return total


@lru_cache(maxsize=4096)
def plan_of(settings: SimulatorSettings, index: int) -> ObservingPlan:
    """Make the plan of one proposal. If the proposal has a parent, the parent's plan is made too, but no other plan."""
    kind, parent, is_continuation = _parent_of(settings, index)
    if parent is None:
        return _new_plan(settings, index, kind)
    first = _new_plan(settings, parent, kind)
    own = _new_plan(settings, index, kind, sibling_of=first.camera)
    filters = first.filters if own.camera == first.camera and is_continuation else own.filters
    return replace(own, filters=filters, targets=first.targets, parent=parent, is_continuation=is_continuation)


def _parent_of(settings: SimulatorSettings, index: int) -> tuple[ObjectKind, int | None, bool]:
    """Return a proposal's kind of object, the index of its parent or None, and whether it is a continuation."""
    kind, draw, parent = _draw_parent(index)
    # A parent never has a parent, so that a proposal's plan requires at most the plan of its parent.
    if parent is None or _draw_parent(parent)[2] is not None:
        return kind, None, False
    return kind, parent, draw < CONTINUATION_FRACTION


def _draw_parent(index: int) -> tuple[ObjectKind, float, int | None]:
    """Draw the kind of object, a random number from 0 to 1, and the index of a candidate parent or None.

    If the number is below CONTINUATION_FRACTION, the proposal is a continuation of its parent.
    """
    rng = python_rng("relation", index)
    block, position = divmod(index, len(OBJECT_KINDS))
    name = _kind_order(block)[position]
    if rng.random() < CALIBRATION_FRACTION:
        return CALIBRATION, 1.0, None
    kind, draw = OBJECT_KINDS[name], rng.random()
    # A moving target has no fixed field that can be observed again.
    if block == 0 or kind.is_moving or draw >= CONTINUATION_FRACTION + SAME_FIELD_FRACTION:
        return kind, draw, None
    earlier_block = rng.randrange(block)
    parent = earlier_block * len(OBJECT_KINDS) + _kind_order(earlier_block).index(name)
    # This repeats the first draw for the parent, which decides whether the parent is a calibration proposal.
    is_science = python_rng("relation", parent).random() >= CALIBRATION_FRACTION
    return kind, draw, parent if is_science else None


@lru_cache(maxsize=4096)
def _kind_order(block: int) -> tuple[str, ...]:
    """Shuffle the kinds of object for one block of proposals.

    Each block has every kind once, so that all kinds are about equally frequent in any number of proposals.
    """
    names = list(OBJECT_KINDS)
    python_rng("order", block).shuffle(names)
    return tuple(names)


def _draw_cycle(settings: SimulatorSettings, index: int) -> int:
    """Return the observing cycle of a proposal; the proposals of each simulated night cover all cycles evenly."""
    position = index % settings.num_proposals
    schedule = SCHEDULES[settings.mission]
    return schedule.first_cycle + schedule.num_cycles * position // settings.num_proposals


def _new_plan(settings: SimulatorSettings, index: int, kind: ObjectKind, sibling_of: str = "") -> ObservingPlan:
    """Draw a plan; `_choose_camera` explains `sibling_of`."""
    cycle = _draw_cycle(settings, index)
    rng = python_rng("plan", index)
    camera = _choose_camera(rng, settings.mission, cycle, sibling_of)
    filters = _choose_filters(rng, kind, camera)
    num_targets = 1 + (rng.random() < TWO_TARGETS_FRACTION)
    half_field = CAMERAS[camera].pixel_scale_arcsec * settings.frame_px / 2
    targets = tuple(_target(rng, kind, hash_seed("scene", index, i), half_field) for i in range(num_targets))
    return ObservingPlan(
        index=index,
        kind=kind,
        cycle=cycle,
        camera=camera,
        filters=filters,
        targets=targets,
        parent=None,
        is_continuation=False,
    )


def _choose_camera(rng: random.Random, mission: str, cycle: int, sibling_of: str) -> str:
    """Choose a camera that is in use in this cycle.

    `sibling_of` is the parent proposal's camera, or empty. That camera or its `sibling`, which has a similar field of
    view, is preferred. If neither camera is in use, or `sibling_of` is empty, choose any camera in use.
    """
    cameras = {name: camera for name, camera in CAMERAS.items() if camera.mission == mission}
    available = [name for name, camera in cameras.items() if camera.first_cycle <= cycle <= camera.last_cycle]
    choice, is_same_camera = rng.choice(available), rng.random() < 0.6
    if not sibling_of:
        return choice
    wanted = sibling_of if is_same_camera else CAMERAS[sibling_of].sibling
    return next((name for name in (wanted, sibling_of, CAMERAS[sibling_of].sibling) if name in available), choice)


def _choose_filters(rng: random.Random, kind: ObjectKind, camera: str) -> tuple[str, ...]:
    """Choose two to four filters, in the order of the filter plan for this kind of object."""
    available = FILTER_PLANS[kind.filters].get(camera) or tuple(band.name for band in CAMERAS[camera].filters)
    count = min(len(available), rng.choices((2, 3, 4), (72, 20, 8))[0])
    chosen = {available[0], *rng.sample(available, count)} if rng.random() < 0.5 else set(rng.sample(available, count))
    return tuple(name for name in available if name in chosen)[:count]


def _target(rng: random.Random, kind: ObjectKind, scene_key: int, half_field_arcsec: float) -> Target:
    """Draw the variant, the position and the name of a target."""
    variant = rng.choice(kind.variants)
    ra_deg, dec_deg = _position(rng, kind)
    return Target(
        name=_name(rng, kind, variant, ra_deg, dec_deg),
        scene_key=scene_key,
        variant=variant,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        half_field_arcsec=half_field_arcsec,
    )


def _position(rng: random.Random, kind: ObjectKind) -> tuple[float, float]:
    """Draw a position (ra, dec) in degrees, uniform on the sphere; moving targets have a declination of -23 to 23."""
    ra_deg, height = rng.uniform(0, 360), rng.uniform(-0.97, 0.97)  # `height` is sin(dec); the poles are excluded
    if kind.is_moving:
        return ra_deg, rng.uniform(-23, 23)
    return ra_deg, math.degrees(math.asin(height))


def _name(rng: random.Random, kind: ObjectKind, variant: str, ra_deg: float, dec_deg: float) -> str:
    """Make a catalogue name from one of the kind's name patterns. Coordinates in the name agree with the position."""
    sign, height = "-" if dec_deg < 0 else "+", abs(dec_deg)
    values = {
        "variant": variant,
        "hhmm": f"{int(ra_deg / 15):02d}{int(ra_deg * 4) % 60:02d}",
        "ss": f"{int(ra_deg * 240) % 60:02d}",
        "sdd": f"{sign}{int(height):02d}",
        "mm": f"{int(height * 60) % 60:02d}",
        "d": f"{int(height * 10) % 10}",
    }
    return FIELD_PATTERN.sub(lambda match: values.get(match[1]) or _fill_field(rng, match[1]), rng.choice(kind.names))


def _fill_field(rng: random.Random, field: str) -> str:
    """Draw the text of a placeholder in a name pattern: a letter for `L`, a year for `y`, or e.g. 4 digits for `n4`."""
    if field == "L":
        return rng.choice(string.ascii_uppercase)
    if field == "y":
        return str(rng.randrange(1996, 2021))
    digits = int(field[1:])
    return str(rng.randrange(10 ** (digits - 1), 10**digits))
