"""Rendering of the FITS and JPEG files of an observation. The size of each file is known before it is rendered."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from PIL import Image as PilImage

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator import sky
from hubbleclip.simulator.detector import HOT, ExposureDepth, simulate_combined, simulate_single
from hubbleclip.simulator.fits_headers import Exposure, frame_wcs
from hubbleclip.simulator.frames import Frame, detector_frame
from hubbleclip.simulator.jwst import MJY_SR_PER_E_S
from hubbleclip.simulator.missions import SIM_MISSIONS
from hubbleclip.simulator.objects.view import Image
from hubbleclip.simulator.optics import convolve
from hubbleclip.simulator.products import (
    AUXILIARY_BLOCKS,
    BLOCK_BYTES,
    COMBINED_KINDS,
    PREVIEW_BYTES,
    PREVIEW_KINDS,
    PRIMARY_BLOCKS,
    chip_bounds,
)
from hubbleclip.simulator.random_draws import SEED, numpy_rng

__all__ = ["Exposure", "render_file"]

DO_NOT_USE, HOT_PIXEL = 1, 2048  # DQ bits of the JWST pipeline.
PREVIEW_PX = 256
PREVIEW_QUALITIES = (60, 30, 10)
JPEG_END = b"\xff\xd9"
# An extension of a file: EXTNAME, EXTVER, BUNIT, data, and the (row, column) in the frame at which the data begin.
ImagePlane = tuple[str, int, str, npt.NDArray[np.generic], tuple[int, int]]


def render_file(settings: SimulatorSettings, exposure: Exposure, kind: str, file_name: str) -> bytes:
    """Render one file of an observation; equal arguments give equal bytes."""
    if kind in PREVIEW_KINDS:
        return _render_preview(settings, exposure, file_name, kind)
    planes = _PLANES_BY_KIND[kind](settings, exposure) if kind not in AUXILIARY_BLOCKS else iter(())
    frame, mission = _file_frame(settings, exposure, kind), SIM_MISSIONS[exposure.camera.mission]
    units = [
        fits.ImageHDU(data, mission.extension_header(exposure, name, version, unit, frame_wcs(frame, origin)))
        for name, version, unit, data, origin in planes
    ]
    blocks = AUXILIARY_BLOCKS.get(kind, PRIMARY_BLOCKS) + exposure.extra_blocks
    primary = fits.PrimaryHDU(header=mission.primary_header(exposure, file_name, len(units), blocks))
    buffer = io.BytesIO()
    fits.HDUList([primary, *units]).writeto(buffer, output_verify="ignore")
    return buffer.getvalue()


def _file_frame(settings: SimulatorSettings, exposure: Exposure, kind: str) -> Frame:
    """Return the frame of a file: the combined frame for a drizzled image, otherwise the frame of the detector."""
    return exposure.frame if kind in COMBINED_KINDS else detector_frame(settings, exposure.frame)


def _depth(exposure: Exposure) -> ExposureDepth:
    """Return camera, filter and exposure time, and the typical exposure time for this kind of object."""
    low, high = exposure.plan.kind.exposure_s
    # Exposure times have a log-uniform distribution, so the typical time is the geometric mean of the limits.
    typical_s = (low * high) ** 0.5 * (1.8 if exposure.band.line else 1.0)
    return ExposureDepth(
        camera=exposure.camera, band=exposure.band, exposure_s=exposure.exposure_s, typical_s=typical_s
    )


def _observed_scene(exposure: Exposure, frame: Frame) -> Image:
    """Render the scene and convolve the scene with the point-spread function."""
    # `epoch` is a number that identifies the observation, not a date.
    epoch = zlib.crc32(exposure.obs_id.encode())
    view = sky.scene_view(frame, exposure.target, exposure.band, epoch)
    scene = sky.render_scene(view, exposure.plan, exposure.target)
    return convolve(scene, exposure.camera, exposure.band.wave_nm, frame.tilt_deg)


def _combine(exposure: Exposure) -> tuple[Image, Image, npt.NDArray[np.int32]]:
    """Simulate a drizzled image; return science (electrons per second), weight (seconds) and context."""
    rng = numpy_rng(SEED, "noise", exposure.noise_key)
    return simulate_combined(_observed_scene(exposure, exposure.frame), _depth(exposure), exposure.frame, rng)


def _by_chip(
    settings: SimulatorSettings, exposure: Exposure, *layers: tuple[str, npt.NDArray[np.generic], str]
) -> Iterator[ImagePlane]:
    """Yield one extension for each chip and each layer; a layer is (EXTNAME, data of the whole detector, BUNIT)."""
    for version, (top, bottom, left, right) in enumerate(chip_bounds(settings.frame_px, exposure.camera), start=1):
        for name, data, unit in layers:
            yield name, version, unit, data[top:bottom, left:right], (top, left)


def _combined_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[ImagePlane]:
    """Yield the extensions SCI, WHT and CTX of a drizzled image."""
    science, weight, context = _combine(exposure)
    # The WFC3 pipeline writes NaN outside the detector; the other HST pipelines write 0.
    if exposure.camera.fills_with_nan:
        science[weight == 0] = np.nan
    unit = "ELECTRONS/S"
    if exposure.camera.instrument == "WFPC2":
        science /= np.float32(exposure.camera.gain)  # WFPC2 images are in counts.
        unit = "COUNTS/S"
    for name, data, label in (("SCI", science, unit), ("WHT", weight, "UNITLESS"), ("CTX", context, "UNITLESS")):
        yield name, 1, label, data, (0, 0)


def _single_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[ImagePlane]:
    """Yield the extensions SCI, ERR and DQ of each chip of a calibrated exposure."""
    image, error, flags = _one_exposure(settings, exposure)
    unit = "ELECTRONS"
    if exposure.camera.detector == "IR":
        seconds = np.float32(exposure.exposure_s)
        image, error, unit = image / seconds, error / seconds, "ELECTRONS/S"
    yield from _by_chip(settings, exposure, ("SCI", image, unit), ("ERR", error, unit), ("DQ", flags, "UNITLESS"))


def _wfpc2_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[ImagePlane]:
    """Yield the extension SCI of each chip of a calibrated WFPC2 exposure; the DQ flags are in another file."""
    image, _, _ = _one_exposure(settings, exposure)
    yield from _by_chip(settings, exposure, ("SCI", image / np.float32(exposure.camera.gain), "COUNTS"))


def _jwst_combined_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[ImagePlane]:
    """Yield the extensions SCI, ERR, CON and WHT of a resampled JWST image."""
    science, weight, context = _combine(exposure)
    science *= np.float32(MJY_SR_PER_E_S)
    science[weight == 0] = np.nan
    error = np.sqrt(np.abs(science)) * np.float32(0.01)
    unit = "MJy/sr"
    for name, data, label in (("SCI", science, unit), ("ERR", error, unit), ("CON", context, ""), ("WHT", weight, "")):
        yield name, 1, label, data, (0, 0)


def _jwst_single_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[ImagePlane]:
    """Yield the extensions SCI, ERR and DQ of a calibrated JWST exposure."""
    image, error, flags = _one_exposure(settings, exposure)
    scale, unit = np.float32(MJY_SR_PER_E_S / exposure.exposure_s), "MJy/sr"
    quality = np.where(flags & HOT, np.uint32(DO_NOT_USE | HOT_PIXEL), np.uint32(0)).astype(np.uint32)
    layers = ("SCI", image * scale, unit), ("ERR", error * scale, unit), ("DQ", quality, "")
    yield from _by_chip(settings, exposure, *layers)


def _raw_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[ImagePlane]:
    """Yield the extension SCI of each chip of a raw exposure, in counts."""
    image, _, _ = _one_exposure(settings, exposure)
    # The bias level is 2400 counts, and the analogue-to-digital converter has 16 bits.
    counts = np.clip(image / exposure.camera.gain + 2400.0, 0, 65535).astype(np.uint16)
    yield from _by_chip(settings, exposure, ("SCI", counts, "COUNTS"))


def _one_exposure(settings: SimulatorSettings, exposure: Exposure) -> tuple[Image, Image, npt.NDArray[np.int16]]:
    """Simulate one exposure; return image, error (both in electrons) and data-quality flags of the whole detector."""
    rng = numpy_rng(SEED, "noise", exposure.noise_key, "single")
    # This seed does not depend on the observation, because the defects of a camera are the same in every exposure.
    chip_rng = numpy_rng(SEED, "chip", exposure.camera.name)
    scene = _observed_scene(exposure, detector_frame(settings, exposure.frame))
    if exposure.plan.kind.name == "calibration":
        scene = _calibration_scene(exposure, scene)
    return simulate_single(scene, _depth(exposure), rng, chip_rng)


def _calibration_scene(exposure: Exposure, blank_yx: Image) -> Image:
    """Return the vignetted illumination of a flat-field exposure, or the blank scene for a dark exposure."""
    if exposure.target.variant == "dark":
        return blank_yx
    y, x = np.ogrid[-1 : 1 : blank_yx.shape[0] * 1j, -1 : 1 : blank_yx.shape[1] * 1j]
    return np.asarray(400 * (1 - 0.12 * (x**2 + y**2) + 0.03 * x), np.float32)


def _render_preview(settings: SimulatorSettings, exposure: Exposure, file_name: str, kind: str) -> bytes:
    """Render a JPEG preview, either in colour from three filters, or in grey from one filter.

    The end of a grey preview's file name is the kind of image that it shows, e.g. DRZ for `drz.jpg`. Fill bytes, which
    JPEG allows before any marker, pad the file to the size that the archive lists.
    """
    names = exposure.plan.filters
    if kind == "COLOR":
        bands = [exposure.camera.filter(names[index]) for index in (0, len(names) // 2, -1)]
        greys = [_stretch_grey(next(_combined_planes(settings, replace(exposure, band=band)))[3]) for band in bands]
        picture = PilImage.merge("RGB", greys)
    else:
        picture = _stretch_grey(next(_PLANES_BY_KIND[file_name[-7:-4].upper()](settings, exposure))[3])
    size = PREVIEW_BYTES + exposure.extra_blocks * BLOCK_BYTES
    # The highest quality that gives a JPEG of at most `size` bytes is used.
    for quality in PREVIEW_QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= size:
            break
    return buffer.getvalue().removesuffix(JPEG_END).ljust(size - len(JPEG_END), b"\xff") + JPEG_END


def _stretch_grey(science_yx: npt.NDArray[np.generic]) -> PilImage.Image:
    """Convert an image to 8-bit grey with an asinh stretch, and flip the image so that its +y axis points up."""
    data = np.nan_to_num(np.asarray(science_yx, np.float32))
    noise = max(float(np.percentile(np.abs(data), 60)), 1e-9)  # Robust estimate of the noise, never 0.
    grey = np.clip(60 * np.arcsinh(data / (2 * noise)) + 20, 0, 255).astype(np.uint8)
    return PilImage.fromarray(grey[::-1]).resize((PREVIEW_PX, PREVIEW_PX))  # FITS rows are counted upwards.


_PLANES_BY_KIND = {
    "DRZ": _combined_planes,
    "DRC": _combined_planes,
    "DRW": _combined_planes,
    "FLT": _single_planes,
    "FLC": _single_planes,
    "C0M": _wfpc2_planes,
    "I2D": _jwst_combined_planes,
    "CAL": _jwst_single_planes,
    "RAW": _raw_planes,
    "D0M": _raw_planes,
}
