"""Where a frame lies on the sky: pointing, roll, pixel scale, and the detector's outline in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.instruments import CAMERAS, Camera
from hubbleclip.simulator.plans import Plan, Target
from hubbleclip.simulator.random_draws import python_rng

STAIR_INSIDE = 0.46
STAIR = (
    (-1.0, -1.0), (1.0, -1.0), (1.0, 0.0), (STAIR_INSIDE, 0.0), (STAIR_INSIDE, STAIR_INSIDE), (0.0, STAIR_INSIDE),
    (0.0, 1.0), (-1.0, 1.0),
)  # fmt: skip
SQUARE = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A pixel grid. `roll_deg` is the position angle of +y (east of north); the detector is turned by `tilt_deg` in it.

    `half_px` is half the side of the detector; (`east_arcsec`,
    `north_arcsec`) is the pointing seen from the field's centre.
    """

    num_y: int
    num_x: int
    pixel_scale_arcsec: float
    roll_deg: float
    tilt_deg: float
    half_px: float
    east_arcsec: float
    north_arcsec: float
    ra_deg: float
    dec_deg: float

    def outline(self, camera: Camera) -> tuple[tuple[float, float], ...]:
        """Corners of the detector as (ra, dec) in degrees, closed: the last is the first."""
        corners = STAIR if camera.footprint == "stair" else SQUARE
        turned = [_turn(u * self.half_px, v * self.half_px, self.tilt_deg) for u, v in corners]
        sky = [self.sky_of(x, y) for x, y in turned]
        return (*sky, sky[0])

    def sky_of(self, x_px: float, y_px: float) -> tuple[float, float]:
        """(ra, dec) in degrees of pixel offsets from the frame's centre, by the gnomonic (TAN) projection."""
        west, north = _turn(x_px, y_px, self.roll_deg)
        return deproject(self.ra_deg, self.dec_deg, -west * self.pixel_scale_arcsec, north * self.pixel_scale_arcsec)


def _turn(x: float, y: float, angle_deg: float) -> tuple[float, float]:
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return cosine * x - sine * y, sine * x + cosine * y


def deproject(ra_deg: float, dec_deg: float, east_arcsec: float, north_arcsec: float) -> tuple[float, float]:
    """Position at a tangent-plane offset (Calabretta and Greisen 2002, TAN)."""
    xi, eta = math.radians(east_arcsec / 3600), math.radians(north_arcsec / 3600)
    dec = math.radians(dec_deg)
    depth = math.cos(dec) - eta * math.sin(dec)
    ra = math.radians(ra_deg) + math.atan2(xi, depth)
    height = math.sin(dec) + eta * math.cos(dec)
    return math.degrees(ra) % 360.0, math.degrees(math.atan2(height, math.hypot(xi, depth)))


def frame_of(settings: SimulatorSettings, plan: Plan, target: Target) -> Frame:
    """The combined (drizzled) frame of a target, shared by all filters; the detector's own is `chip_frame`."""
    rng = python_rng(settings.seed, "frame", plan.index, target.scene_key)
    num_y, num_x = (round(settings.frame_px * rng.uniform(0.97, 1.04)) for _ in range(2))
    tilt_deg = round(rng.triangular(-14, 14, 0) / 2) * 2.0
    camera = CAMERAS[plan.camera]
    spread = 0.12 * target.half_field_arcsec if target.half_field_arcsec > 0 else 0.0
    east, north = (rng.gauss(0, 1) * spread * plan.kind.may_be_off_centre for _ in range(2))
    roll_deg = rng.uniform(-180, 180)
    if camera.footprint == "stair":
        shift = 0.12 * settings.frame_px * camera.pixel_scale_arcsec
        west, up = _turn(shift, shift, roll_deg)
        east, north = east - west, north + up
    ra_deg, dec_deg = deproject(target.ra_deg, target.dec_deg, east, north)
    spread_of_turn = math.cos(math.radians(tilt_deg)) + abs(math.sin(math.radians(tilt_deg)))
    return Frame(
        num_y=num_y, num_x=num_x, pixel_scale_arcsec=camera.pixel_scale_arcsec, roll_deg=roll_deg, tilt_deg=tilt_deg,
        half_px=0.49 * min(num_y, num_x) / spread_of_turn, east_arcsec=east, north_arcsec=north, ra_deg=ra_deg,
        dec_deg=dec_deg,
    )  # fmt: skip


def chip_frame(settings: SimulatorSettings, frame: Frame) -> Frame:
    """The same pointing as the detector itself sees it: upright, filled to the edge."""
    side = settings.frame_px
    roll_deg = (frame.roll_deg + frame.tilt_deg + 180) % 360 - 180
    return replace(frame, num_y=side, num_x=side, roll_deg=roll_deg, tilt_deg=0.0, half_px=side / 2)
