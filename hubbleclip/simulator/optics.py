"""Point-spread function (PSF) of the telescope, with a core, wings and four diffraction spikes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft

from hubbleclip.simulator.instruments import Camera

Image = npt.NDArray[np.float32]
PAD_PX = 24  # Beyond this radius the PSF carries little light.
# Fractions of the PSF's total flux in the spikes and in the wings.
SPIKE_FRACTION = 0.035
WING_FRACTION = 0.10


def convolve(image_yx: Image, camera: Camera, wave_nm: float, tilt_deg: float) -> Image:
    """Convolve an image with the PSF; the image is mirrored beyond its edges, and `tilt_deg` rotates the spikes."""
    padded = np.pad(image_yx, PAD_PX, mode="reflect")
    shape = tuple(scipy.fft.next_fast_len(side, real=True) for side in padded.shape)
    # The width is rounded so that similar filters share one cache entry.
    kernel = _transformed_psf(camera.name, round(_fwhm_px(camera, wave_nm), 2), tilt_deg, shape)
    spectrum = scipy.fft.rfft2(padded, s=shape, workers=1)
    spectrum *= kernel
    convolved: Image = scipy.fft.irfft2(spectrum, s=shape, workers=1)
    return convolved[PAD_PX : PAD_PX + image_yx.shape[0], PAD_PX : PAD_PX + image_yx.shape[1]]


def _fwhm_px(camera: Camera, wave_nm: float) -> float:
    """Compute the full width at half maximum of the core in pixels; diffraction makes it grow with wavelength.

    `camera.psf_fwhm_px` is the width at 600 nm, or at 1250 nm for an infrared detector.
    """
    reference = 1250.0 if camera.detector == "IR" else 600.0
    return float(camera.psf_fwhm_px * np.sqrt(0.5 + 0.5 * (wave_nm / reference) ** 2))


@lru_cache(maxsize=256)
def _transformed_psf(name: str, fwhm_px: float, tilt_deg: float, shape: tuple[int, ...]) -> npt.NDArray[np.complex64]:
    """Compute the Fourier transform of the PSF, cached because many frames share it."""
    psf = psf_image(fwhm_px, 45.0 + tilt_deg, shape, 5.0 if name == "WFC3/IR" else 0.0)
    transformed: npt.NDArray[np.complex64] = scipy.fft.rfft2(psf, workers=1).astype(np.complex64)
    return transformed


def psf_image(fwhm_px: float, spikes_deg: float, shape: tuple[int, ...], ring_px: float = 0.0) -> Image:
    """Compute the PSF, normalised to sum 1, on a periodic grid; its peak is at pixel (0, 0), as the FFT requires.

    The PSF is the sum of a Gaussian core, Moffat-like wings modulated by rings, and two bars for the spikes. This is an
    empirical form, not a model of the pupil.
    """
    # `y` and `x` are signed offsets from pixel (0, 0) on the periodic grid.
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) * np.where(np.arange(n) <= n // 2, 1, -1) for n in shape)
    y_yx, x_yx = y.astype(np.float32)[:, None], x.astype(np.float32)[None, :]
    r2_yx = x_yx**2 + y_yx**2
    radius_yx = np.sqrt(r2_yx)
    core = np.exp(-2.77 * r2_yx / fwhm_px**2)  # 2.77 is 4 ln 2, because `fwhm_px` is a full width.
    wings = (1 + r2_yx / (1.6 * fwhm_px) ** 2) ** -1.6  # The wings fall as r^-3.2.
    wings *= 1 + 0.5 * np.cos(radius_yx * (2 * np.pi / (1.35 * fwhm_px + 0.2 * ring_px)))
    spikes = np.zeros_like(core)
    for angle in np.deg2rad([spikes_deg, spikes_deg + 90.0]):
        across = x_yx * np.sin(angle) - y_yx * np.cos(angle)
        spikes += np.exp(-0.5 * (across / 0.65) ** 2) / (1 + (radius_yx / 6.0) ** 1.5) * np.exp(-radius_yx / 90.0)
    core_fraction = 1 - WING_FRACTION - SPIKE_FRACTION
    psf = (
        core_fraction * core / core.sum() + WING_FRACTION * wings / wings.sum() + SPIKE_FRACTION * spikes / spikes.sum()
    )
    return np.asarray(psf, np.float32)
