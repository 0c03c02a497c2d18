"""Simulation of the detector: photon noise, read noise, cosmic rays, defects, and the combination of exposures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hubbleclip.simulator.frames import STAIR_INNER, Frame
from hubbleclip.simulator.instruments import Camera, Filter
from hubbleclip.simulator.objects.view import Image

Flags = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]
NUM_COMBINED = 4
# Pixels with a smaller expected value (electrons) get Poisson noise. Other pixels get normal noise, which is faster.
POISSON_BELOW_E = 10.0
# Bits of the data-quality (DQ) array, as in the STScI pipelines.
BAD_COLUMN, HOT, SATURATED, COSMIC_RAY = 4, 16, 256, 4096
GAP_FRACTION = 0.017  # Half the gap between two chips, in units of half the side of the detector.


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureDepth:
    """Camera, filter and exposure time of one image.

    `typical_s` is the typical exposure time for the kind of object, and defines the brightness unit of a scene: in an
    exposure of this length, a brightness of one unit equals the standard deviation of a pixel's noise.
    """

    camera: Camera
    band: Filter
    exposure_s: float
    typical_s: float

    @property
    def sky_e(self) -> float:
        """Background (zodiacal light and dark current) in electrons per pixel, summed over the whole exposure."""
        # The background grows with the width of the filter up to a limit. The dark current is 0.02 of `camera.sky_e_s`.
        width = (
            min(1.5, self.band.width_nm / 150.0) if self.camera.detector != "IR" else min(1.3, self.band.width_nm / 280)
        )
        return self.camera.sky_e_s * (width + 0.02) * self.exposure_s

    @property
    def unit_e(self) -> float:
        """Number of electrons per brightness unit of a scene, summed over the whole exposure."""
        typical_sky_e = self.sky_e * self.typical_s / self.exposure_s
        # Read noise is added once for each of the combined exposures.
        sigma_e = np.sqrt(typical_sky_e + NUM_COMBINED * self.camera.read_noise_e**2)
        return float(sigma_e) * self.exposure_s / self.typical_s


def draw_counts(expected_e_yx: Image, read_noise_e: float, rng: np.random.Generator) -> Image:
    """Draw pixel values in electrons, with photon noise and read noise, around expected values."""
    variance = np.maximum(expected_e_yx, 0) + np.float32(read_noise_e**2)
    counts = expected_e_yx + np.sqrt(variance) * rng.standard_normal(expected_e_yx.shape, dtype=np.float32)
    is_faint = expected_e_yx < POISSON_BELOW_E
    count = int(np.count_nonzero(is_faint))
    if count:
        photons = rng.poisson(np.maximum(expected_e_yx[is_faint], 0)).astype(np.float32)
        counts[is_faint] = photons + np.float32(read_noise_e) * rng.standard_normal(count, dtype=np.float32)
    return np.asarray(counts, np.float32)


def add_cosmic_rays(image_yx: Image, rng: np.random.Generator, count: int) -> Mask:
    """Add cosmic rays to an image in place, and return a mask of the pixels that were hit.

    Each cosmic ray is a straight track one pixel wide.
    """
    length = rng.exponential(5.0, count) + 1  # Length of each track in pixels.
    angle, charge = rng.uniform(0, 2 * np.pi, count), rng.lognormal(6.4, 1.0, count)
    rows, columns = rng.uniform(0, image_yx.shape[0], count), rng.uniform(0, image_yx.shape[1], count)
    steps = np.arange(24)[None, :]
    is_inside = steps < length[:, None]
    row = (rows[:, None] + steps * np.sin(angle)[:, None]).astype(np.int64)
    column = (columns[:, None] + steps * np.cos(angle)[:, None]).astype(np.int64)
    is_inside &= (row >= 0) & (column >= 0) & (row < image_yx.shape[0]) & (column < image_yx.shape[1])
    deposit = np.broadcast_to(charge[:, None], is_inside.shape)[is_inside] * rng.uniform(0.4, 1.2, int(is_inside.sum()))
    # Tracks may cross; `np.add.at` adds all of them to a shared pixel, which `+=` would not.
    np.add.at(image_yx, (row[is_inside], column[is_inside]), deposit.astype(np.float32))
    hit = np.zeros(image_yx.shape, bool)
    hit[row[is_inside], column[is_inside]] = True
    return hit


def saturate(image_e_yx: Image, full_well_e: float, *, bleeds: bool) -> Mask:
    """Clip an image in place at the full-well charge, and return a mask of the saturated pixels.

    If `bleeds`, the surplus charge also saturates neighbouring pixels of the same column.
    """
    full = image_e_yx > full_well_e
    if not full.any():
        return full
    surplus = np.where(full, image_e_yx - full_well_e, 0).sum(axis=0)
    np.minimum(image_e_yx, np.float32(full_well_e), out=image_e_yx)
    for column in np.flatnonzero(surplus > full_well_e) if bleeds else ():
        rows = np.flatnonzero(full[:, column])
        bleed_px = int(min(120, surplus[column] / full_well_e / 2))
        top, bottom = max(0, int(rows[0]) - bleed_px), min(len(full), int(rows[-1]) + bleed_px + 1)
        # A large span means that several saturated stars lie in one column. Such a column is skipped, because bleeding
        # would fill all pixels between the stars.
        if bottom - top > 4 * (len(rows) + 2 * bleed_px):
            continue
        full[top:bottom, column] = True
        image_e_yx[top:bottom, column] = full_well_e
    return full


def detector_defects(shape: tuple[int, int], camera: Camera, rng: np.random.Generator) -> Flags:
    """Draw the DQ flags of a detector: HOT, and for a CCD also BAD_COLUMN."""
    flags = np.zeros(shape, np.int16)
    hot = rng.integers(0, flags.size, int(flags.size * 4e-4))  # 0.04 % of the pixels are hot.
    flags.reshape(-1)[hot] |= HOT
    if camera.detector == "IR":
        return flags
    for column in rng.integers(0, shape[1], int(rng.integers(1, 4))):
        flags[int(rng.integers(0, shape[0] // 2)) :, column] |= BAD_COLUMN
    return flags


def exposure_fraction(frame: Frame, camera: Camera, is_dithered: bool) -> Image:
    """Compute the fraction of the exposure, from 0 to 1, that each pixel of a combined frame received."""
    tilt = np.deg2rad(-frame.tilt_deg)
    y = np.arange(frame.num_y, dtype=np.float32)[:, None] - np.float32((frame.num_y - 1) / 2)
    x = np.arange(frame.num_x, dtype=np.float32)[None, :] - np.float32((frame.num_x - 1) / 2)
    half = np.float32(frame.half_px)
    u = (np.float32(np.cos(tilt)) * x - np.float32(np.sin(tilt)) * y) / half
    v = (np.float32(np.sin(tilt)) * x + np.float32(np.cos(tilt)) * y) / half
    inside = (np.abs(u) < 1) & (np.abs(v) < 1)
    if camera.footprint == "stair":
        # In the upper right quadrant of WFPC2, only the small planetary camera has pixels.
        inside &= (u < 0) | (v < 0) | ((u < STAIR_INNER) & (v < STAIR_INNER))
    fraction = inside.astype(np.float32)
    if camera.footprint == "two_chips":
        fraction[inside & (np.abs(v) < GAP_FRACTION)] = 0.5 if is_dithered else 0.0
    return fraction


def simulate_combined(
    sky_yx: Image, depth: ExposureDepth, frame: Frame, rng: np.random.Generator
) -> tuple[Image, Image, npt.NDArray[np.int32]]:
    """Simulate a drizzled image: science (e-/s), weight (s) and context (one bit per exposure that contributes)."""
    is_dithered = bool(rng.random() < 0.6)
    fraction = exposure_fraction(frame, depth.camera, is_dithered)
    expected = sky_yx * np.float32(depth.unit_e) + np.float32(depth.sky_e)
    image = draw_counts(expected, depth.camera.read_noise_e * NUM_COMBINED**0.5, rng)
    is_half = fraction == np.float32(0.5)
    # With half the exposure time, the variance of a pixel is twice as large.
    image[is_half] += np.sqrt(expected[is_half]) * rng.standard_normal(int(is_half.sum()), dtype=np.float32)
    saturate(image, depth.camera.full_well_e * NUM_COMBINED, bleeds=depth.camera.detector != "IR")
    add_cosmic_rays(image, rng, int(rng.poisson(4)))  # The pipeline does not reject all cosmic rays.
    # The pipeline subtracts an estimate of the background, which has an error of 1 %.
    image -= np.float32(depth.sky_e * rng.normal(1.0, 0.01))
    image /= np.float32(depth.exposure_s)
    image[fraction == 0] = 0
    # Where the fraction is 1, all exposures contribute. In a gap, the first two exposures (bits 0 and 1) contribute.
    context = np.where(fraction == 1, 2**NUM_COMBINED - 1, np.where(fraction > 0, 3, 0)).astype(np.int32)
    return image, fraction * np.float32(depth.exposure_s), context


def simulate_single(
    sky_yx: Image, depth: ExposureDepth, rng: np.random.Generator, chip_rng: np.random.Generator
) -> tuple[Image, Image, Flags]:
    """Simulate one exposure: image and error in electrons, and DQ flags."""
    camera = depth.camera
    image = draw_counts(sky_yx * np.float32(depth.unit_e) + np.float32(depth.sky_e), camera.read_noise_e, rng)
    flags = detector_defects((image.shape[0], image.shape[1]), camera, chip_rng)
    image[flags == HOT] += np.float32(camera.full_well_e * 0.02)
    image[flags == BAD_COLUMN] *= np.float32(0.1)
    if camera.detector == "IR":
        hit = add_cosmic_rays(image, rng, int(rng.poisson(3)))
    else:
        rate = image.size * depth.exposure_s * 2.5e-6  # Expected number of cosmic rays.
        hit = add_cosmic_rays(image, rng, int(rng.poisson(rate)))
    full = saturate(image, camera.full_well_e, bleeds=camera.detector != "IR")
    is_flagged = hit & (rng.random(hit.shape, dtype=np.float32) < 0.85)  # The pipeline misses some cosmic rays.
    flags = flags | np.where(full, SATURATED, 0).astype(np.int16) | np.where(is_flagged, COSMIC_RAY, 0).astype(np.int16)
    error = np.sqrt(np.maximum(image, 0) + np.float32(camera.read_noise_e**2))
    return image, error, flags
