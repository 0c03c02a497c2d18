"""Geometry of a frame on the sky: pointing, roll, pixel scale, and the outline of the detector."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.instruments import CAMERAS, Camera
from hubbleclip.simulator.plans import ObservingPlan, Target
from hubbleclip.simulator.random_draws import python_rng

# Ratio of the side of WFPC2's planetary camera to the side of a wide-field chip.
STAIR_INNER = 0.46
# Corners of the detector, in units of half its side, relative to its centre.
STAIR_OUTLINE = (
    (-1.0, -1.0),
    (1.0, -1.0),
    (1.0, 0.0),
    (STAIR_INNER, 0.0),
    (STAIR_INNER, STAIR_INNER),
    (0.0, STAIR_INNER),
    (0.0, 1.0),
    (-1.0, 1.0),
)
SQUARE_OUTLINE = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The pixel grid of an image on the sky, and the place of the detector in the grid.

    The frame has `num_y` rows and `num_x` columns. `roll_deg` is the position angle of the +y axis, measured from north
    through east. (`ra_deg`, `dec_deg`) is the ICRS position of the frame's centre. (`east_arcsec`, `north_arcsec`) is
    the offset of the frame's centre from the centre of the target's field. The detector has the same centre as the
    frame and is rotated by `tilt_deg` within the frame. `half_px` is half the side of the detector in pixels.
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

    def detector_outline(self, camera: Camera) -> tuple[tuple[float, float], ...]:
        """Compute (ra, dec) in degrees of the corners of the detector; the first is repeated at the end."""
        corners = STAIR_OUTLINE if camera.footprint == "stair" else SQUARE_OUTLINE
        rotated_px = [_rotate(u * self.half_px, v * self.half_px, self.tilt_deg) for u, v in corners]
        corners_sky = [self.to_sky(x, y) for x, y in rotated_px]
        return (*corners_sky, corners_sky[0])

    def to_sky(self, x_px: float, y_px: float) -> tuple[float, float]:
        """Convert an offset from the frame's centre to (ra, dec) in degrees by the gnomonic (TAN) projection."""
        west, north = _rotate(x_px, y_px, self.roll_deg)
        return deproject(self.ra_deg, self.dec_deg, -west * self.pixel_scale_arcsec, north * self.pixel_scale_arcsec)


def _rotate(x: float, y: float, angle_deg: float) -> tuple[float, float]:
    """Rotate a vector counter-clockwise by an angle in degrees."""
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return cosine * x - sine * y, sine * x + cosine * y


def deproject(ra_deg: float, dec_deg: float, east_arcsec: float, north_arcsec: float) -> tuple[float, float]:
    """Convert an offset in the tangent plane of a position to (ra, dec) in degrees (TAN; Calabretta & Greisen 2002)."""
    xi, eta = math.radians(east_arcsec / 3600), math.radians(north_arcsec / 3600)
    dec = math.radians(dec_deg)
    depth = math.cos(dec) - eta * math.sin(dec)
    ra = math.radians(ra_deg) + math.atan2(xi, depth)
    height = math.sin(dec) + eta * math.cos(dec)
    return math.degrees(ra) % 360.0, math.degrees(math.atan2(height, math.hypot(xi, depth)))


def combined_frame(settings: SimulatorSettings, plan: ObservingPlan, target: Target) -> Frame:
    """Make the combined (drizzled) frame of a target; the images in all filters have this frame."""
    rng = python_rng("frame", plan.index, target.scene_key)
    # As in real data, the size of drizzled frames varies by a few percent.
    num_y, num_x = (round(settings.frame_px * rng.uniform(0.97, 1.04)) for _ in range(2))
    tilt_deg = round(rng.triangular(-14, 14, 0) / 2) * 2.0  # Steps of 2 degrees limit the number of PSFs to compute.
    camera = CAMERAS[plan.camera]
    # Standard deviation of the pointing offset.
    scatter_arcsec = 0.12 * target.half_field_arcsec if target.half_field_arcsec > 0 else 0.0
    east, north = (rng.gauss(0, 1) * scatter_arcsec * plan.kind.may_be_off_centre for _ in range(2))
    roll_deg = rng.uniform(-180, 180)
    if camera.footprint == "stair":
        # This shift keeps the target out of the missing quadrant of WFPC2.
        shift = 0.12 * settings.frame_px * camera.pixel_scale_arcsec
        west, up = _rotate(shift, shift, roll_deg)
        east, north = east - west, north + up
    ra_deg, dec_deg = deproject(target.ra_deg, target.dec_deg, east, north)
    # Side of the bounding box of the tilted detector, in units of the side of the detector.
    extent = math.cos(math.radians(tilt_deg)) + abs(math.sin(math.radians(tilt_deg)))
    return Frame(
        num_y=num_y,
        num_x=num_x,
        pixel_scale_arcsec=camera.pixel_scale_arcsec,
        roll_deg=roll_deg,
        tilt_deg=tilt_deg,
        half_px=0.49 * min(num_y, num_x) / extent,
        east_arcsec=east,
        north_arcsec=north,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
    )


def detector_frame(settings: SimulatorSettings, frame: Frame) -> Frame:
    """Make the frame of a single exposure: the detector's pixel grid, with the same centre as the combined `frame`."""
    side = settings.frame_px
    roll_deg = (frame.roll_deg + frame.tilt_deg + 180) % 360 - 180  # Wrapped to -180 to 180.
    return replace(frame, num_y=side, num_x=side, roll_deg=roll_deg, tilt_deg=0.0, half_px=side / 2)
