"""What a proposal observes: kind, camera, filters and targets. Text (`proposals`) and images (`visits`) follow it."""

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
from hubbleclip.simulator.object_kinds import CALIBRATION, FILTER_PLANS, KINDS, Kind
from hubbleclip.simulator.random_draws import integer_of, python_rng

FIRST_NUMBER = 10001
MAX_PROPOSALS = 99999 - FIRST_NUMBER + 1
CALIBRATION_SHARE = 0.03
SAME_FIELD_SHARE = 0.13
CONTINUATION_SHARE = 0.04
TWO_TARGETS_SHARE = 0.12
FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One field of the sky. Equal `scene_key` means the same objects at the same position."""

    name: str
    scene_key: int
    variant: str
    ra_deg: float
    dec_deg: float
    half_field_arcsec: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the proposal at `index` observes; `parent` is the proposal whose field or text it takes up again."""

    index: int
    kind: Kind
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


def index_of(number: str) -> int:
    """Index of the proposal with this number."""
    return int(number) - FIRST_NUMBER


def num_proposals(settings: SimulatorSettings) -> int:
    """Proposals over all nights. Raises SettingsError where their numbers would need six digits."""
    total = settings.num_proposals * settings.nights
    if total > MAX_PROPOSALS:
        raise SettingsError(
            f"simulator.num_proposals * simulator.nights is {total}: set them to at most {MAX_PROPOSALS}"
        )
    return total


@lru_cache(maxsize=4096)
def plan_of(settings: SimulatorSettings, index: int) -> Plan:
    """The plan of one proposal, made without the others' plans (but for its parent's)."""
    kind, parent, is_continuation = _relation(settings, index)
    if parent is None:
        return _new_plan(settings, index, kind)
    first = _new_plan(settings, parent, kind)
    own = _new_plan(settings, index, kind, sibling_of=first.camera)
    filters = first.filters if own.camera == first.camera and is_continuation else own.filters
    return replace(own, filters=filters, targets=first.targets, parent=parent, is_continuation=is_continuation)


def _relation(settings: SimulatorSettings, index: int) -> tuple[Kind, int | None, bool]:
    """Kind of the proposal, the earlier one that it follows, and whether it is that one's continuation."""
    kind, draw, parent = _raw_relation(settings.seed, index)
    if parent is None or _raw_relation(settings.seed, parent)[2] is not None:
        return kind, None, False
    return kind, parent, draw < CONTINUATION_SHARE


def _raw_relation(seed: int, index: int) -> tuple[Kind, float, int | None]:
    rng = python_rng(seed, "relation", index)
    block, place = divmod(index, len(KINDS))
    name = _order(seed, block)[place]
    if rng.random() < CALIBRATION_SHARE:
        return CALIBRATION, 1.0, None
    kind, draw = KINDS[name], rng.random()
    if block == 0 or kind.is_moving or draw >= CONTINUATION_SHARE + SAME_FIELD_SHARE:
        return kind, draw, None
    earlier = rng.randrange(block)
    parent = earlier * len(KINDS) + _order(seed, earlier).index(name)
    is_science = python_rng(seed, "relation", parent).random() >= CALIBRATION_SHARE
    return kind, draw, parent if is_science else None


@lru_cache(maxsize=4096)
def _order(seed: int, block: int) -> tuple[str, ...]:
    """Order of the kinds within a block of proposals, so that any number of proposals has about equal shares."""
    names = list(KINDS)
    python_rng(seed, "order", block).shuffle(names)
    return tuple(names)


def _cycle(settings: SimulatorSettings, index: int) -> int:
    place = index % settings.num_proposals
    schedule = SCHEDULES[settings.mission]
    return schedule.first_cycle + schedule.num_cycles * place // settings.num_proposals


def _new_plan(settings: SimulatorSettings, index: int, kind: Kind, sibling_of: str = "") -> Plan:
    seed, cycle = settings.seed, _cycle(settings, index)
    rng = python_rng(seed, "plan", index)
    camera = _camera(rng, settings.mission, cycle, sibling_of)
    filters = _filters(rng, kind, camera)
    num_targets = 1 + (rng.random() < TWO_TARGETS_SHARE)
    half_field = CAMERAS[camera].pixel_scale_arcsec * settings.frame_px / 2
    targets = tuple(_target(rng, kind, integer_of(seed, "scene", index, i), half_field) for i in range(num_targets))
    return Plan(
        index=index, kind=kind, cycle=cycle, camera=camera, filters=filters, targets=targets, parent=None,
        is_continuation=False,
    )  # fmt: skip


def _camera(rng: random.Random, mission: str, cycle: int, sibling_of: str) -> str:
    """A camera that flew in this cycle: for a field seen before, one of a like field of view."""
    cameras = {name: camera for name, camera in CAMERAS.items() if camera.mission == mission}
    flying = [name for name, camera in cameras.items() if camera.first_cycle <= cycle <= camera.last_cycle]
    choice, stays = rng.choice(flying), rng.random() < 0.6
    if not sibling_of:
        return choice
    wanted = sibling_of if stays else CAMERAS[sibling_of].sibling
    return next((name for name in (wanted, sibling_of, CAMERAS[sibling_of].sibling) if name in flying), choice)


def _filters(rng: random.Random, kind: Kind, camera: str) -> tuple[str, ...]:
    known = FILTER_PLANS[kind.filters].get(camera) or tuple(band.name for band in CAMERAS[camera].filters)
    count = min(len(known), rng.choices((2, 3, 4), (72, 20, 8))[0])
    chosen = {known[0], *rng.sample(known, count)} if rng.random() < 0.5 else set(rng.sample(known, count))
    return tuple(name for name in known if name in chosen)[:count]


def _target(rng: random.Random, kind: Kind, scene_key: int, half_field_arcsec: float) -> Target:
    variant = rng.choice(kind.variants)
    ra_deg, dec_deg = _position(rng, kind)
    return Target(
        name=_name(rng, kind, variant, ra_deg, dec_deg), scene_key=scene_key, variant=variant, ra_deg=ra_deg,
        dec_deg=dec_deg,
        half_field_arcsec=half_field_arcsec,
    )  # fmt: skip


def _position(rng: random.Random, kind: Kind) -> tuple[float, float]:
    """Uniform on the sphere; solar-system objects near the ecliptic."""
    ra_deg, height = rng.uniform(0, 360), rng.uniform(-0.97, 0.97)
    if kind.is_moving:
        return ra_deg, rng.uniform(-23, 23)
    return ra_deg, math.degrees(math.asin(height))


def _name(rng: random.Random, kind: Kind, variant: str, ra_deg: float, dec_deg: float) -> str:
    """A catalogue name in one of the kind's styles; those made of coordinates tell the position."""
    sign, height = "-" if dec_deg < 0 else "+", abs(dec_deg)
    fixed = {
        "variant": variant, "hhmm": f"{int(ra_deg / 15):02d}{int(ra_deg * 4) % 60:02d}",
        "ss": f"{int(ra_deg * 240) % 60:02d}",
        "sdd": f"{sign}{int(height):02d}", "mm": f"{int(height * 60) % 60:02d}", "d": f"{int(height * 10) % 10}",
    }  # fmt: skip
    return FIELD.sub(lambda match: fixed.get(match[1]) or _letters(rng, match[1]), rng.choice(kind.names))


def _letters(rng: random.Random, field: str) -> str:
    """A random letter for `L`, year for `y`, or number of k digits for `nk`."""
    if field == "L":
        return rng.choice(string.ascii_uppercase)
    if field == "y":
        return str(rng.randrange(1996, 2021))
    digits = int(field[1:])
    return str(rng.randrange(10 ** (digits - 1), 10**digits))
