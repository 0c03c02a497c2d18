"""Simulated exposures of Hubble's CCD cameras: stars, galaxies, nebulae and cosmic rays, with the truth of each.

The stars have the point-spread functions of Tiny Tim in `shared/data/psf` beside the repository. Where that folder is
missing, analytic profiles of the same width replace them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special, stats

PSF_FOLDER = Path(__file__).parents[2] / "shared/data/psf"
STAMP_PX, NUM_PHASES = 25, 5
RAY_FLUX_PER_MPIX = 6000
"""Number of particles per megapixel, which hit 1.4 to 2.0 % of the pixels by more than 3 sigma, as in 1,000 s."""
SILICON_UM, DEPOSIT_E_PER_UM, STEP_PX = 15.0, 65.0, 0.1
DIFFUSION_YX = np.array([[0.01, 0.04, 0.01], [0.04, 0.8, 0.04], [0.01, 0.04, 0.01]])
"""Share of a ray's charge that reaches each pixel: like the charge of stars, it diffuses to the neighbours."""
STRAGGLING = 0.2
"""Scale of the Moyal distribution of the deposit, as a share of its location."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCamera:
    """A CCD camera: its PSF file, noise, full well and usual sky in electrons, gain, and FWHM of its analytic PSF.

    `has_scenes` says whether it is measured on scenes other than empty sky too.
    """

    name: str
    instrument: str
    psf: str
    read_noise_e: float
    full_well_e: float
    sky_e: float
    gain: float = 1.0
    is_whole_dn: bool = False
    fwhm_px: float = 1.7
    has_scenes: bool = False

    @property
    def filter(self) -> str:
        """Name of the filter."""
        return self.name.split()[-1]


ACS = {"instrument": "ACS/WFC", "read_noise_e": 4.5, "full_well_e": 84_700}
HRC = {"instrument": "ACS/HRC", "read_noise_e": 4.7, "full_well_e": 155_000, "fwhm_px": 2.2}
UVIS = {"instrument": "WFC3/UVIS", "read_noise_e": 3.1, "full_well_e": 63_000}
WFPC2 = {"instrument": "WFPC2", "read_noise_e": 5.2, "full_well_e": 27_500, "gain": 7, "is_whole_dn": True}
CAMERAS = (
    SimulatedCamera(name="ACS/WFC F606W", has_scenes=True, psf="acs_f606w", sky_e=60, **ACS),
    SimulatedCamera(name="ACS/WFC F475W", psf="acs_f475w", sky_e=40, **ACS),
    SimulatedCamera(name="ACS/WFC F814W", psf="acs_f814w", sky_e=50, **ACS),
    SimulatedCamera(name="ACS/HRC F435W", psf="hrc_f435w", sky_e=8, **HRC),
    SimulatedCamera(name="WFC3/UVIS F336W", psf="uvis_f336w", sky_e=15, **UVIS),
    SimulatedCamera(name="WFC3/UVIS F606W", psf="uvis_f606w", sky_e=30, **UVIS),
    SimulatedCamera(name="WFPC2 PC F439W", psf="pc_f439w", sky_e=4, **WFPC2),
    SimulatedCamera(name="WFPC2 PC F606W", psf="pc_f606w", sky_e=8, **WFPC2),
    SimulatedCamera(name="WFPC2 WF3 F439W", psf="wf3_f439w", sky_e=8, fwhm_px=1.4, **WFPC2),
    SimulatedCamera(name="WFPC2 WF3 F606W", psf="wf3_f606w", sky_e=40, fwhm_px=1.4, **WFPC2),
)


@lru_cache
def psf_stamps(camera: SimulatedCamera) -> NDArray[np.float64]:
    """Return the PSFs (n, 25, 25) of a camera at field positions and sub-pixel phases, as shares of a star's light."""
    path = PSF_FOLDER / f"{camera.psf}.npz"
    if path.is_file():
        return np.asarray(np.load(path)["psf_nyx"], np.float64)
    sigma, half = camera.fwhm_px / 2.355, STAMP_PX // 2
    edges = np.arange(-half, half + 2) - 0.5
    profiles = [  # a Gaussian integrated over the pixels
        np.diff(special.ndtr((edges - phase) / sigma)) for phase in (np.arange(NUM_PHASES) - 2) / NUM_PHASES
    ]
    return np.stack([np.outer(along_y, along_x) for along_y in profiles for along_x in profiles])


def has_real_psfs() -> bool:
    """Return whether the PSFs of Tiny Tim are present."""
    return PSF_FOLDER.is_dir()


def add_stars(
    light_yx: NDArray[np.float64], camera: SimulatedCamera, fluxes_e: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Add stars of the given fluxes on a jittered grid, so that none overlap; return their peaks (n, 2) as (y, x)."""
    stamps, half = psf_stamps(camera), STAMP_PX // 2
    side, per_row = light_yx.shape[0], int(np.ceil(np.sqrt(len(fluxes_e))))
    cell = (side - 2 * half) / per_row
    peaks = np.empty((len(fluxes_e), 2), np.int64)
    for index, flux_e in enumerate(fluxes_e):
        grid_yx = np.array(divmod(index, per_row))
        y, x = (half + (grid_yx + 0.5) * cell + rng.uniform(-3, 3, 2)).astype(int).clip(half, side - half - 1)
        stamp_yx = stamps[rng.integers(len(stamps))]
        light_yx[y - half : y + half + 1, x - half : x + half + 1] += flux_e * stamp_yx
        peaks[index] = np.unravel_index(stamp_yx.argmax(), stamp_yx.shape) + np.array([y - half, x - half])
    return peaks


def add_crowd(light_yx: NDArray[np.float64], camera: SimulatedCamera, number: int, rng: np.random.Generator) -> None:
    """Add stars at random places with a power-law distribution of fluxes from S/N 10 on; the brightest saturate."""
    stamps, half, side = psf_stamps(camera), STAMP_PX // 2, light_yx.shape[0]
    rims = np.maximum(stamps[:, [0, -1]].max(axis=(1, 2)), stamps[:, :, [0, -1]].max(axis=(1, 2)))
    stamps = np.maximum(stamps - rims[:, None, None], 0)  # without a step at the edge of a stamp
    fluxes_e = np.minimum(star_flux_e(camera, 10) * (rng.pareto(0.6, number) + 1), 60 * camera.full_well_e)
    padded_yx = np.zeros((side + 2 * half, side + 2 * half))
    for flux_e, (y, x) in zip(fluxes_e, rng.integers(0, side, (number, 2)), strict=True):
        padded_yx[y : y + STAMP_PX, x : x + STAMP_PX] += flux_e * stamps[rng.integers(len(stamps))]
    light_yx += padded_yx[half:-half, half:-half]


def star_flux_e(camera: SimulatedCamera, signal_to_noise: float, light_e: float = 0.0) -> float:
    """Return the flux at which the PSF photometry of a star has this S/N, on the sky plus `light_e` of nebula."""
    stamp_yx = np.median(psf_stamps(camera), axis=0)
    variance, flux_e = camera.read_noise_e**2 + camera.sky_e + light_e, 100.0
    for _ in range(50):  # S/N^2 is the sum of signal^2 / variance over the pixels
        signal_yx = flux_e * stamp_yx
        now = np.sqrt(np.sum(signal_yx**2 / (variance + np.maximum(signal_yx, 0))))
        flux_e *= signal_to_noise / now
    return flux_e


def add_galaxies(light_yx: NDArray[np.float64], camera: SimulatedCamera, number: int, rng: np.random.Generator) -> None:
    """Add exponential and de Vaucouleurs galaxies with a power-law distribution of fluxes, blurred by the PSF."""
    side, galaxies_yx = light_yx.shape[0], np.zeros_like(light_yx)
    for _ in range(number):
        radius_px, axis_ratio, angle = rng.lognormal(np.log(6), 0.6), rng.uniform(0.3, 1), rng.uniform(0, np.pi)
        half = int(min(12 * radius_px, 150))
        y, x = rng.integers(0, side, 2)
        near = slice(max(y - half, 0), y + half + 1), slice(max(x - half, 0), x + half + 1)
        dy, dx = np.mgrid[near[0].start : min(near[0].stop, side), near[1].start : min(near[1].stop, side)] - np.array(
            [[[y]], [[x]]]
        )
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        scaled_yx = np.hypot(along, across / axis_ratio) / radius_px
        profile_yx = np.exp(-1.68 * scaled_yx) if rng.random() < 0.7 else np.exp(-7.67 * scaled_yx**0.25)
        flux_e = 3000 * (rng.pareto(0.8) + 1)
        galaxies_yx[near] += min(flux_e, 3e6) * profile_yx / profile_yx.sum()
    light_yx += ndimage.convolve(galaxies_yx, psf_stamps(camera)[12, 8:17, 8:17])


def add_nebula(light_yx: NDArray[np.float64], mean_e: float, rng: np.random.Generator) -> None:
    """Add a nebula with structure on all scales: a log-normal field with the power spectrum of turbulence."""
    side = light_yx.shape[0]
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = 1
    waves = rng.normal(size=(2, *frequency.shape)) * frequency**-1.8
    field_yx = np.fft.irfft2(waves[0] + 1j * waves[1], light_yx.shape)
    field_yx = ndimage.gaussian_filter(0.5 * field_yx / field_yx.std(), 1)
    light_yx += mean_e * np.exp(field_yx) / np.exp(field_yx).mean()


def add_fine_nebula(light_yx: NDArray[np.float64], mean_e: float, share: float, rng: np.random.Generator) -> None:
    """Add a nebula with structure of 40 and of 3 pixels; `share` is the standard deviation of the log of the latter."""
    coarse_yx, fine_yx = (
        field_yx / field_yx.std()
        for field_yx in (ndimage.gaussian_filter(rng.normal(size=light_yx.shape), sigma) for sigma in (40, 3))
    )
    light_yx += mean_e * np.exp(0.4 * coarse_yx + share * fine_yx)


def add_core(light_yx: NDArray[np.float64], peak_e: float, radius_px: float) -> None:
    """Add a galaxy whose bright core fills the frame: surface brightness peak / (1 + r / radius)^2."""
    side = light_yx.shape[0]
    dy, dx = np.mgrid[:side, :side] - (side - 1) / 2
    light_yx += peak_e / (1 + np.hypot(dy, dx / 0.7) / radius_px) ** 2


def draw_rays(shape_yx: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the charge (h, w) in electrons that cosmic rays leave: straight tracks, some curled delta electrons."""
    rays_yx = np.zeros(shape_yx)
    for _ in range(rng.poisson(RAY_FLUX_PER_MPIX * rays_yx.size / 1e6)):
        cosine = np.sqrt(rng.random())  # an isotropic flux through a plane
        length_px = min(np.sqrt(1 - cosine**2) / cosine, 60.0)  # a pixel is as wide as the silicon is deep
        num_steps = max(2, int(length_px / STEP_PX))
        angle = rng.uniform(0, 2 * np.pi)
        curl = rng.normal(0, 0.15, num_steps).cumsum() if rng.random() < 0.15 else np.zeros(num_steps)
        step_um = SILICON_UM / cosine / num_steps if length_px < 60 else SILICON_UM * STEP_PX
        share = stats.moyal.rvs(1, STRAGGLING, random_state=rng)
        y = rng.uniform(0, shape_yx[0]) + np.cumsum(np.sin(angle + curl)) * length_px / num_steps
        x = rng.uniform(0, shape_yx[1]) + np.cumsum(np.cos(angle + curl)) * length_px / num_steps
        inside = (y >= 0) & (y < shape_yx[0]) & (x >= 0) & (x < shape_yx[1])
        deposit_e = DEPOSIT_E_PER_UM * step_um * share
        np.add.at(rays_yx, (y[inside].astype(int), x[inside].astype(int)), deposit_e)
    return ndimage.convolve(rays_yx, DIFFUSION_YX, mode="constant")


def expose(
    light_yx: NDArray[np.float64], rays_yx: NDArray[np.float64] | float, camera: SimulatedCamera, rng: Any
) -> NDArray[np.float32]:
    """Return the pixel values of an exposure with Poisson and read noise, in the camera's unit, sky included."""
    electrons_yx = rng.poisson(np.maximum(light_yx + camera.sky_e, 0)) + rays_yx
    electrons_yx = np.minimum(electrons_yx + rng.normal(0, camera.read_noise_e, light_yx.shape), camera.full_well_e)
    values_yx = electrons_yx / camera.gain
    return np.asarray(np.rint(values_yx) if camera.is_whole_dn else values_yx, np.float32)


def noise_map(light_yx: NDArray[np.float64], camera: SimulatedCamera) -> NDArray[np.float64]:
    """Return the sigma of the noise at each pixel without rays, in electrons."""
    quantisation = camera.gain**2 / 12 if camera.is_whole_dn else 0.0
    return np.sqrt(np.maximum(light_yx, 0) + camera.sky_e + camera.read_noise_e**2 + quantisation)
