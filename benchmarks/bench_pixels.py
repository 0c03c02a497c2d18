"""Cosmic-ray rejection on simulated exposures, by camera, beside astroscrappy: rays found, stars harmed, time.

The PSFs are Tiny Tim's where they are present; see `simulated_rays`. A ray pixel has a charge above 6 sigma of the
local noise. A star is harmed if the rejection and the repair of bad pixels lower its peak by more than 20 %. Stars are
counted by S/N, with 0, 1 and 2 % of the pixels flagged as bad. False pixels are counted on scenes without stars.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import simulated_rays as simulated
from benchmarks.measure import Row, each, progress, report, sized
from benchmarks.simulated_rays import CAMERAS, SimulatedCamera
from hubbleclip.fits.instruments import camera_of
from hubbleclip.images.bad_pixels import repair_rows
from hubbleclip.images.cosmic_rays import reject_cosmic_rays

PEER = "astroscrappy 1.3 (sigclip 4.5, sigfrac 0.3, objlim 5, 4 iterations)"
SIDE_PX, NUM_STARS = sized((1024, 1000), (300, 60))
GALAXIES_PER_MPIX = 30
"""250 galaxies in a frame of ACS/WFC."""
STAR_CLASSES = {"S/N 10 to 30": (10, 30), "S/N 30 to 100": (30, 100), "S/N above 100": (100, 1000)}
FLAGGED_SHARES = (0.0, 0.01, 0.02)
RAY_SIGMA = 6
HARMED_BELOW = 0.8

Find = Callable[[NDArray[np.float32], NDArray[np.bool_], SimulatedCamera], NDArray[np.bool_]]
"""Function that takes pixel values, the mask of the valid pixels and the camera, and returns the mask of rays."""
Build = Callable[[NDArray[np.float64], SimulatedCamera, np.random.Generator], object]


def find_ours(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], camera: SimulatedCamera) -> NDArray[np.bool_]:
    """Find rays with the limit of the camera."""
    good_yx = valid_yx.copy()
    reject_cosmic_rays(data_yx, good_yx, camera_of(camera.instrument).star_contrast)
    return valid_yx & ~good_yx


def find_with_astroscrappy(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], camera: SimulatedCamera
) -> NDArray[np.bool_]:
    """Find rays with L.A.Cosmic as in astroscrappy, which gets the gain and the read noise."""
    import astroscrappy

    rays_yx, _ = astroscrappy.detect_cosmics(
        data_yx * camera.gain,
        inmask=~valid_yx,
        sigclip=4.5,
        sigfrac=0.3,
        objlim=5.0,
        gain=1.0,
        readnoise=camera.read_noise_e,
        satlevel=camera.full_well_e,
        niter=4,
        cleantype="medmask",
    )
    return np.asarray(rays_yx & valid_yx)


def _galaxies(light_yx: NDArray[np.float64], camera: SimulatedCamera, rng: np.random.Generator) -> None:
    simulated.add_galaxies(light_yx, camera, int(GALAXIES_PER_MPIX * light_yx.size / 1e6), rng)


SCENES: dict[str, Build] = {
    "empty sky": lambda *_: None,
    "250 galaxies in an ACS frame": _galaxies,
    "nebula of 300 e": lambda light_yx, _, rng: simulated.add_nebula(light_yx, 300, rng),
    "nebula of 1,500 e": lambda light_yx, _, rng: simulated.add_nebula(light_yx, 1500, rng),
    "core of a galaxy": lambda light_yx, *_: simulated.add_core(light_yx, 6000, 40),
}


@dataclass(frozen=True, slots=True)
class Score:
    """Result on one scene: shares of ray pixels and of the charge of rays that are found, and false pixels per Mpix."""

    pixels: float
    charge: float
    false_per_mpix: float
    seconds: float


def score_scene(camera: SimulatedCamera, name: str, find: Find, side_px: int = SIDE_PX, seed: int = 0) -> Score:
    """Measure a finder on an exposure with rays; false pixels are those found in an exposure without rays."""
    rng, light_yx = np.random.default_rng(seed), np.zeros((side_px, side_px))
    SCENES[name](light_yx, camera, rng)
    rays_yx = simulated.draw_rays(light_yx.shape, rng)
    struck_yx, clean_yx = (simulated.expose(light_yx, rays, camera, rng) for rays in (rays_yx, 0.0))
    valid_yx = np.ones(light_yx.shape, np.bool_)
    start = time.perf_counter()
    found_yx = find(struck_yx, valid_yx, camera)
    seconds = time.perf_counter() - start
    is_ray = rays_yx > RAY_SIGMA * simulated.noise_map(light_yx, camera)
    num_false = np.count_nonzero(find(clean_yx, valid_yx, camera))
    return Score(
        found_yx[is_ray].mean(), rays_yx[found_yx].sum() / rays_yx.sum(), num_false / light_yx.size * 1e6, seconds
    )


def harmed_stars(
    camera: SimulatedCamera, limits: tuple[float, float], flagged: float, find: Find, num_stars: int = NUM_STARS
) -> float:
    """Return the share of the stars of a range of S/N that a finder harms, with a share of the pixels flagged."""
    rng, light_yx = np.random.default_rng(1), np.zeros((SIDE_PX, SIDE_PX))
    ratios = np.geomspace(*limits, num_stars)
    fluxes_e = np.array([simulated.star_flux_e(camera, ratio) for ratio in ratios])
    peaks = simulated.add_stars(light_yx, camera, fluxes_e, rng)
    data_yx = simulated.expose(light_yx, 0.0, camera, rng)
    valid_yx = rng.random(light_yx.shape) >= flagged
    rays_yx = find(data_yx, valid_yx, camera)
    before, after = (_peak_heights(data_yx, mask_yx, peaks, camera) for mask_yx in (valid_yx, valid_yx & ~rays_yx))
    return float(np.mean(after < HARMED_BELOW * before))


def _peak_heights(
    data_yx: NDArray[np.float32], good_yx: NDArray[np.bool_], peaks: NDArray[np.int64], camera: SimulatedCamera
) -> NDArray[np.float64]:
    """Return the highest repaired pixel of each star's central 3x3, above the sky."""
    repaired_yx, _ = repair_rows(data_yx, good_yx, 0, len(data_yx))
    offsets = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return np.max([repaired_yx[peaks[:, 0] + dy, peaks[:, 1] + dx] for dy, dx in offsets], axis=0) - (
        camera.sky_e / camera.gain
    )


def camera_rows(camera: SimulatedCamera) -> Iterator[Row]:
    """Measure both finders on all scenes and stars of one camera."""
    peers = (find_ours, find_with_astroscrappy)
    scores = {name: [score_scene(camera, name, find) for find in peers] for name in SCENES}
    for name, sides in scores.items():
        yield _row(camera, f"{name}: ray pixels found", "%", [100 * side.pixels for side in sides])
        yield _row(camera, f"{name}: charge of rays found", "%", [100 * side.charge for side in sides])
        yield _row(camera, f"{name}: false pixels", "per Mpix", [side.false_per_mpix for side in sides])
    for name, limits in STAR_CLASSES.items():
        for flagged in FLAGGED_SHARES:
            shares = [100 * harmed_stars(camera, limits, flagged, find) for find in peers]
            yield _row(camera, f"{name}: stars harmed, {flagged:.0%} flagged", "%", shares)
    megapixels = SIDE_PX**2 / 1e6
    seconds = [np.median([sides[k].seconds for sides in scores.values()]) for k in range(2)]
    yield _row(camera, "time", "ms/Mpix", [1e3 * one / megapixels for one in seconds], seconds[1] / seconds[0])


def _row(camera: SimulatedCamera, name: str, unit: str, sides: list[float], ratio: float | None = None) -> Row:
    ours, peer = (float(f"{side:.4g}") for side in sides)
    faster = None if ratio is None else float(f"{ratio:.4g}")
    return Row(
        name=f"{camera.name}, {name}", unit=unit, ours=ours, peer=peer, peer_name=PEER, ratio=faster, runs=1, spread=0
    )


def main() -> None:
    """Measure all cameras."""
    if not simulated.has_real_psfs():
        progress(f"no Tiny Tim PSFs at {simulated.PSF_FOLDER}: analytic profiles replace them")
    score_scene(CAMERAS[0], "nebula of 300 e", find_ours, 64)  # compiles the loops
    rows = [row for camera in each(CAMERAS, lambda camera: camera.name) for row in camera_rows(camera)]
    report("pixels", rows)


if __name__ == "__main__":
    main()
