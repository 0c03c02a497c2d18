"""Cosmic-ray rejection on simulated exposures, by camera, beside astroscrappy: rays found, stars harmed, time.

The PSFs are Tiny Tim's where they are present; see `simulated_rays`. A ray pixel has a charge above 6 sigma of the
local noise. A star is harmed if the rejection and the repair of bad pixels lower its peak by more than 20 %; it has a
hole if they lower its central pixel below the median of the eight around it. Stars with a ray in their 7x7 pixels, but
none on the inner 3x3, are counted in exposures with rays. False pixels are counted in exposures without stars and rays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import simulated_rays as simulated
from benchmarks.measure import Row, each, progress, report, sized
from benchmarks.simulated_rays import CAMERAS, SimulatedCamera
from hubbleclip.fits.instruments import star_contrast
from hubbleclip.images.bad_pixels import repair_rows
from hubbleclip.images.cosmic_rays import reject_cosmic_rays

PEER = "astroscrappy 1.3 (sigclip 4.5, sigfrac 0.3, objlim 5, 4 iterations, sepmed={})"
SIDE_PX, NUM_STARS, NUM_FRAMES = sized((512, 225, 3), (200, 36, 1))
"""Side of a frame, its number of stars, and number of frames per measurement."""
GALAXIES_PER_MPIX = 30
"""250 galaxies in a frame of ACS/WFC."""
FAINT, BRIGHT = (10.0, 30.0), (30.0, 1000.0)
"""Ranges of the S/N of stars."""
RAY_SIGMA, TOUCHED_SIGMA = 6, 1
"""Charges in sigmas of the local noise: of a pixel that counts as a ray pixel, and of one that a ray has touched."""
HARMED_BELOW = 0.8

Find = Callable[[NDArray[np.float32], NDArray[np.bool_], SimulatedCamera], NDArray[np.bool_]]
"""Function that takes pixel values, the mask of the valid pixels and the camera, and returns the mask of rays."""
Build = Callable[[NDArray[np.float64], SimulatedCamera, np.random.Generator], object]


def find_ours(data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], camera: SimulatedCamera) -> NDArray[np.bool_]:
    """Find rays with the limit of the camera and filter; the data quality flags the saturated pixels."""
    good_yx, saturated = valid_yx.copy(), np.flatnonzero(data_yx * camera.gain > camera.full_well_e - camera.gain)
    reject_cosmic_rays(data_yx, good_yx, star_contrast(camera.filter, camera.instrument), saturated)
    return valid_yx & ~good_yx


def find_with_astroscrappy(
    data_yx: NDArray[np.float32], valid_yx: NDArray[np.bool_], camera: SimulatedCamera, *, sepmed: bool
) -> NDArray[np.bool_]:
    """Find rays with L.A.Cosmic as in astroscrappy, which gets the gain and the read noise.

    With `sepmed`, its default, astroscrappy replaces the median filters of L.A.Cosmic by separable ones.
    """
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
        sepmed=sepmed,
    )
    return np.asarray(rays_yx & valid_yx)


CROWD = "1,000 stars, some saturated"
SIMPLE = ("empty sky", CROWD)
"""Scenes on which all cameras are measured."""


def _galaxies(light_yx: NDArray[np.float64], camera: SimulatedCamera, rng: np.random.Generator) -> None:
    simulated.add_galaxies(light_yx, camera, int(GALAXIES_PER_MPIX * light_yx.size / 1e6), rng)


FINE = {
    f"nebula of {mean_e:,} e with fine structure of {share:.0%}": (mean_e, share)
    for mean_e in (300, 1000)
    for share in (0.25, 0.5)
}
SCENES: dict[str, Build] = {
    "empty sky": lambda *_: None,
    CROWD: lambda light_yx, camera, rng: simulated.add_crowd(light_yx, camera, 1000, rng),
    "250 galaxies in an ACS frame": _galaxies,
    "nebula of 300 e": lambda light_yx, _, rng: simulated.add_nebula(light_yx, 300, rng),
    "nebula of 1,500 e": lambda light_yx, _, rng: simulated.add_nebula(light_yx, 1500, rng),
    "core of a galaxy": lambda light_yx, *_: simulated.add_core(light_yx, 6000, 40),
    **{
        name: lambda light_yx, _, rng, fine=fine: simulated.add_fine_nebula(light_yx, *fine, rng)
        for name, fine in FINE.items()
    },
}


@dataclass(frozen=True, slots=True)
class Score:
    """Result on one scene: shares of ray pixels and of the charge of rays that are found, and false pixels per Mpix."""

    pixels: float
    charge: float
    false_per_mpix: float
    seconds: float


def score_frames(camera: SimulatedCamera, name: str, find: Find) -> Score:
    """Return the mean result of several exposures."""
    scores = [astuple(score_scene(camera, name, find, seed=seed)) for seed in range(NUM_FRAMES)]
    return Score(*np.mean(scores, axis=0).tolist())


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


@dataclass(frozen=True, slots=True)
class Harm:
    """Shares of the stars that are harmed and that have a hole."""

    harmed: float
    holes: float


def harm_stars(
    camera: SimulatedCamera,
    limits: tuple[float, float],
    find: Find,
    *,
    with_rays: bool = False,
    flagged: float = 0.0,
    scene: str = "empty sky",
    num_stars: int = NUM_STARS,
) -> Harm:
    """Count the stars of a range of S/N that a finder harms, with a share of the pixels flagged.

    With rays, only the stars with a ray beside them are counted.
    """
    exposure = partial(_harm_frame, camera, limits, find, with_rays, flagged, scene, num_stars)
    harmed, holes = np.concatenate([exposure(seed) for seed in range(1, NUM_FRAMES + 1)], axis=1).mean(axis=1)
    return Harm(float(harmed), float(holes))


def _harm_frame(
    camera: SimulatedCamera,
    limits: tuple[float, float],
    find: Find,
    with_rays: bool,
    flagged: float,
    scene: str,
    num_stars: int,
    seed: int,
) -> NDArray[np.bool_]:
    """Return which of the stars of one exposure that count are harmed, and which have a hole, (2, stars)."""
    rng, light_yx = np.random.default_rng(seed), np.zeros((SIDE_PX, SIDE_PX))
    SCENES[scene](light_yx, camera, rng)
    noises_yx = simulated.noise_map(light_yx, camera)
    nebula_e = FINE.get(scene, (0, 0))[0]
    fluxes_e = np.geomspace(*(simulated.star_flux_e(camera, limit, nebula_e) for limit in limits), num_stars)
    backdrop_yx = light_yx / camera.gain
    peaks = simulated.add_stars(light_yx, camera, fluxes_e, rng)
    rays_yx = simulated.draw_rays(light_yx.shape, rng) if with_rays else np.zeros_like(light_yx)
    data_yx = simulated.expose(light_yx, rays_yx, camera, rng)
    valid_yx = rng.random(light_yx.shape) >= flagged
    found_yx = find(data_yx, valid_yx, camera)
    sky_yx = backdrop_yx + camera.sky_e / camera.gain
    before_nyx, after_nyx = (
        _around(np.where(shown_yx, values_yx - sky_yx, 0), peaks, 1)
        for values_yx, shown_yx in (
            repair_rows(data_yx, mask_yx, 0, SIDE_PX) for mask_yx in (valid_yx, valid_yx & ~found_yx)
        )
    )
    is_harmed = after_nyx.max(axis=0) < HARMED_BELOW * before_nyx.max(axis=0)
    was_hole, is_hole = (core_nyx[4] < np.median(core_nyx, axis=0) for core_nyx in (before_nyx, after_nyx))
    touched_yx = rays_yx / noises_yx
    is_beside = (_around(touched_yx, peaks, 3).max(axis=0) > RAY_SIGMA) & (
        _around(touched_yx, peaks, 1).max(axis=0) <= TOUCHED_SIGMA
    )
    return np.stack([is_harmed, is_hole & ~was_hole])[:, is_beside if with_rays else slice(None)]


def _around(values_yx: NDArray[np.float64], peaks: NDArray[np.int64], reach_px: int) -> NDArray[np.float64]:
    """Return the pixels around each star, (pixels, stars)."""
    reach = range(-reach_px, reach_px + 1)
    return np.array([values_yx[peaks[:, 0] + dy, peaks[:, 1] + dx] for dy in reach for dx in reach])


PEERS: dict[str, Find] = {
    PEER.format(sepmed): partial(find_with_astroscrappy, sepmed=sepmed) for sepmed in (False, True)
}


def camera_rows(camera: SimulatedCamera) -> Iterator[Row]:
    """Measure our finder and both peers on the scenes and stars of one camera."""
    finders = {"": find_ours, **PEERS}

    def rows(name: str, unit: str, values: list[float], faster: bool = False) -> Iterator[Row]:
        ours, *others = (float(f"{value:.4g}") for value in values)
        for peer_name, peer in zip(PEERS, others, strict=True):
            ratio = float(f"{peer / ours:.4g}") if faster else None
            yield Row(
                name=f"{camera.name}, {name}",
                unit=unit,
                ours=ours,
                peer=peer,
                peer_name=peer_name,
                ratio=ratio,
                runs=NUM_FRAMES,
                spread=0,
            )

    for scene in SCENES if camera.has_scenes else SIMPLE:
        scores = [score_frames(camera, scene, find) for find in finders.values()]
        yield from rows(f"{scene}: ray pixels found", "%", [100 * score.pixels for score in scores])
        yield from rows(f"{scene}: charge of rays found", "%", [100 * score.charge for score in scores])
        yield from rows(f"{scene}: false pixels", "per Mpix", [score.false_per_mpix for score in scores])
        if scene == "empty sky":
            seconds = [1e9 * score.seconds / SIDE_PX**2 for score in scores]
            yield from rows("time", "ms/Mpix", seconds, faster=True)
        for with_rays in (True, False) if scene in (*FINE, *SIMPLE) else ():
            harms = [harm_stars(camera, BRIGHT, find, with_rays=with_rays, scene=scene) for find in finders.values()]
            label = f"{scene}: stars of S/N above 30{', with a ray beside them' if with_rays else ''}"
            yield from rows(f"{label}, harmed", "%", [100 * harm.harmed for harm in harms])
            yield from rows(f"{label}, with a hole", "%", [100 * harm.holes for harm in harms])
    for name, limits in (("S/N 10 to 30", FAINT), ("S/N above 30", BRIGHT)):
        harms = [harm_stars(camera, limits, find, flagged=0.02) for find in finders.values()]
        yield from rows(f"{name}: stars harmed, 2% flagged", "%", [100 * harm.harmed for harm in harms])


def main() -> None:
    """Measure all cameras."""
    if not simulated.has_real_psfs():
        progress(f"no Tiny Tim PSFs at {simulated.PSF_FOLDER}: analytic profiles replace them")
    score_scene(CAMERAS[0], "nebula of 300 e", find_ours, 64)  # compiles the loops
    rows = [row for camera in each(CAMERAS, lambda camera: camera.name) for row in camera_rows(camera)]
    report("pixels", rows)


if __name__ == "__main__":
    main()
