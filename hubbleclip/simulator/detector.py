"""From the sky to pixels: photons, electronics, cosmic rays, defects, and what combining exposures leaves of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hubbleclip.simulator.frames import STAIR_INSIDE, Frame
from hubbleclip.simulator.instruments import Camera, Filter
from hubbleclip.simulator.objects.view import Image

Flags = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]
NUM_COMBINED = 4
POISSON_BELOW_E = 10.0
BAD_COLUMN, HOT, SATURATED, COSMIC_RAY = 4, 16, 256, 4096
GAP_PX_SHARE = 0.017


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """Exposure of one frame; `typical_s` is the exposure for which a scene's brightness unit is one noise sigma."""

    camera: Camera
    band: Filter
    exposure_s: float
    typical_s: float

    @property
    def sky_e(self) -> float:
        """Background in electrons a pixel over the whole exposure, zodiacal light and dark current."""
        width = (
            min(1.5, self.band.width_nm / 150.0) if self.camera.detector != "IR" else min(1.3, self.band.width_nm / 280)
        )
        return self.camera.sky_e_s * (width + 0.02) * self.exposure_s

    @property
    def unit_e(self) -> float:
        """Electrons of one brightness unit."""
        typical_sky_e = self.sky_e * self.typical_s / self.exposure_s
        sigma_e = np.sqrt(typical_sky_e + NUM_COMBINED * self.camera.read_noise_e**2)
        return float(sigma_e) * self.exposure_s / self.typical_s


def noisy(expected_e_yx: Image, read_noise_e: float, rng: np.random.Generator) -> Image:
    """Counts drawn for these expectations: Poisson below POISSON_BELOW_E, its normal limit above, and read noise."""
    variance = np.maximum(expected_e_yx, 0) + np.float32(read_noise_e**2)
    out = expected_e_yx + np.sqrt(variance) * rng.standard_normal(expected_e_yx.shape, dtype=np.float32)
    few = expected_e_yx < POISSON_BELOW_E
    count = int(np.count_nonzero(few))
    if count:
        photons = rng.poisson(np.maximum(expected_e_yx[few], 0)).astype(np.float32)
        out[few] = photons + np.float32(read_noise_e) * rng.standard_normal(count, dtype=np.float32)
    return np.asarray(out, np.float32)


def add_cosmic_rays(image_yx: Image, rng: np.random.Generator, count: int) -> Mask:
    """Add tracks of energetic particles, straight and one pixel wide; returns the pixels that they hit."""
    length = rng.exponential(5.0, count) + 1
    angle, charge = rng.uniform(0, 2 * np.pi, count), rng.lognormal(6.4, 1.0, count)
    rows, columns = rng.uniform(0, image_yx.shape[0], count), rng.uniform(0, image_yx.shape[1], count)
    steps = np.arange(24)[None, :]
    alive = steps < length[:, None]
    r = (rows[:, None] + steps * np.sin(angle)[:, None]).astype(np.int64)
    c = (columns[:, None] + steps * np.cos(angle)[:, None]).astype(np.int64)
    alive &= (r >= 0) & (c >= 0) & (r < image_yx.shape[0]) & (c < image_yx.shape[1])
    deposit = np.broadcast_to(charge[:, None], alive.shape)[alive] * rng.uniform(0.4, 1.2, int(alive.sum()))
    np.add.at(image_yx, (r[alive], c[alive]), deposit.astype(np.float32))
    hit = np.zeros(image_yx.shape, bool)
    hit[r[alive], c[alive]] = True
    return hit


def saturate(image_e_yx: Image, full_well_e: float, *, bleeds: bool) -> Mask:
    """Clip at the full well, let a CCD's surplus bleed along the columns, and return the saturated pixels."""
    full = image_e_yx > full_well_e
    if not full.any():
        return full
    surplus = np.where(full, image_e_yx - full_well_e, 0).sum(axis=0)
    np.minimum(image_e_yx, np.float32(full_well_e), out=image_e_yx)
    for column in np.flatnonzero(surplus > full_well_e) if bleeds else ():
        rows = np.flatnonzero(full[:, column])
        reach = int(min(120, surplus[column] / full_well_e / 2))
        top, bottom = max(0, int(rows[0]) - reach), min(len(full), int(rows[-1]) + reach + 1)
        if bottom - top > 4 * (len(rows) + 2 * reach):
            continue
        full[top:bottom, column] = True
        image_e_yx[top:bottom, column] = full_well_e
    return full


def defects(shape: tuple[int, int], camera: Camera, rng: np.random.Generator) -> Flags:
    """Bad columns and hot pixels of a chip, the same in every exposure of the camera's seed."""
    flags = np.zeros(shape, np.int16)
    hot = rng.integers(0, flags.size, int(flags.size * 4e-4))
    flags.reshape(-1)[hot] |= HOT
    if camera.detector == "IR":
        return flags
    for column in rng.integers(0, shape[1], int(rng.integers(1, 4))):
        flags[int(rng.integers(0, shape[0] // 2)) :, column] |= BAD_COLUMN
    return flags


def coverage(frame: Frame, camera: Camera, dithered: bool) -> Image:
    """Share of the exposure that each pixel of a combined frame got: 0 outside the detector, half in a dithered gap."""
    turn = np.deg2rad(-frame.tilt_deg)
    y = np.arange(frame.num_y, dtype=np.float32)[:, None] - np.float32((frame.num_y - 1) / 2)
    x = np.arange(frame.num_x, dtype=np.float32)[None, :] - np.float32((frame.num_x - 1) / 2)
    half = np.float32(frame.half_px)
    u = (np.float32(np.cos(turn)) * x - np.float32(np.sin(turn)) * y) / half
    v = (np.float32(np.sin(turn)) * x + np.float32(np.cos(turn)) * y) / half
    inside = (np.abs(u) < 1) & (np.abs(v) < 1)
    if camera.footprint == "stair":
        inside &= (u < 0) | (v < 0) | ((u < STAIR_INSIDE) & (v < STAIR_INSIDE))
    share = inside.astype(np.float32)
    if camera.footprint == "two_chips":
        share[inside & (np.abs(v) < GAP_PX_SHARE)] = 0.5 if dithered else 0.0
    return share


def combined(
    sky_yx: Image, depth: Depth, frame: Frame, rng: np.random.Generator
) -> tuple[Image, Image, npt.NDArray[np.int32]]:
    """(SCI in electrons a second, WHT in seconds, CTX) of a drizzled stack; pixels without exposure are zero."""
    dithered = bool(rng.random() < 0.6)
    share = coverage(frame, depth.camera, dithered)
    expected = sky_yx * np.float32(depth.unit_e) + np.float32(depth.sky_e)
    image = noisy(expected, depth.camera.read_noise_e * NUM_COMBINED**0.5, rng)
    shallow = share == np.float32(0.5)
    image[shallow] += np.sqrt(expected[shallow]) * rng.standard_normal(int(shallow.sum()), dtype=np.float32)
    saturate(image, depth.camera.full_well_e * NUM_COMBINED, bleeds=depth.camera.detector != "IR")
    add_cosmic_rays(image, rng, int(rng.poisson(4)))
    image -= np.float32(depth.sky_e * rng.normal(1.0, 0.01))
    image /= np.float32(depth.exposure_s)
    image[share == 0] = 0
    context = np.where(share == 1, 2**NUM_COMBINED - 1, np.where(share > 0, 3, 0)).astype(np.int32)
    return image, share * np.float32(depth.exposure_s), context


def single(
    sky_yx: Image, depth: Depth, rng: np.random.Generator, chip_seed: np.random.Generator
) -> tuple[Image, Image, Flags]:
    """(SCI in electrons, ERR, DQ) of one exposure as the detector saw it."""
    camera = depth.camera
    image = noisy(sky_yx * np.float32(depth.unit_e) + np.float32(depth.sky_e), camera.read_noise_e, rng)
    flags = defects((image.shape[0], image.shape[1]), camera, chip_seed)
    image[flags == HOT] += np.float32(camera.full_well_e * 0.02)
    image[flags == BAD_COLUMN] *= np.float32(0.1)
    if camera.detector == "IR":
        hit = add_cosmic_rays(image, rng, int(rng.poisson(3)))
    else:
        rate = image.size * depth.exposure_s * 2.5e-6
        hit = add_cosmic_rays(image, rng, int(rng.poisson(rate)))
    full = saturate(image, camera.full_well_e, bleeds=camera.detector != "IR")
    caught = hit & (rng.random(hit.shape, dtype=np.float32) < 0.85)
    flags = flags | np.where(full, SATURATED, 0).astype(np.int16) | np.where(caught, COSMIC_RAY, 0).astype(np.int16)
    error = np.sqrt(np.maximum(image, 0) + np.float32(camera.read_noise_e**2))
    return image, error, flags
