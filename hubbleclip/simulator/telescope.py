"""Files of an observation: rendered when asked for, of a size that is known before."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from PIL import Image as Pictures

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator import sky
from hubbleclip.simulator.detector import HOT, Depth, combined, single
from hubbleclip.simulator.fits_headers import (
    BLOCK_BYTES,
    EXTENSION_BLOCKS,
    PRIMARY_BLOCKS,
    Exposure,
    wcs_of,
)
from hubbleclip.simulator.frames import Frame, chip_frame
from hubbleclip.simulator.instruments import Camera
from hubbleclip.simulator.jwst import MJY_SR_PER_E_S
from hubbleclip.simulator.missions import SIM_MISSIONS
from hubbleclip.simulator.objects.view import Image
from hubbleclip.simulator.optics import convolve
from hubbleclip.simulator.random_draws import numpy_rng

__all__ = ["Exposure", "file_size", "render_file"]

COMBINED = {"DRZ": ("SCI", "WHT", "CTX"), "DRC": ("SCI", "WHT", "CTX"), "I2D": ("SCI", "ERR", "CON", "WHT")}
SINGLE = {"RAW": ("RAW",), "D0M": ("RAW",), "C0M": ("SCI",), "CAL": ("SCI", "ERR", "DQ32")}
SMALL_BLOCKS = {"SPT": 3, "SHM": 4, "TRL": 3}
PREVIEWS = frozenset({"JPG", "COLOR"})
DO_NOT_USE, HOT_PIXEL = 1, 2048
"""DQ bits of the JWST pipeline."""
PREVIEW_BYTES = 49_152
PREVIEW_PX = 256
PREVIEW_QUALITIES = (60, 30, 10)
JPEG_END = b"\xff\xd9"
DATA_BYTES = {"SCI": 4, "WHT": 4, "CTX": 4, "CON": 4, "ERR": 4, "DQ": 2, "DQ32": 4, "RAW": 2}
"""Bytes per pixel by extension; `DQ32` are the 32-bit flags of JWST."""
Plane = tuple[str, int, str, npt.NDArray[np.generic], tuple[int, int]]


def file_size(frame_px: int, camera: Camera, combined_yx: tuple[int, int], kind: str) -> int:
    """Exact bytes of a file in its first version, from its layout alone; later ones may have more blocks."""
    if kind in PREVIEWS:
        return PREVIEW_BYTES
    if kind in SMALL_BLOCKS:
        return SMALL_BLOCKS[kind] * BLOCK_BYTES
    if kind in COMBINED:
        planes = [(name, *combined_yx) for name in COMBINED[kind]]
    else:
        names = SINGLE.get(kind, ("SCI", "ERR", "DQ"))
        planes = [
            (name, bottom - top, right - left) for top, bottom, left, right in chips(frame_px, camera) for name in names
        ]
    blocks = sum(
        EXTENSION_BLOCKS + -(-DATA_BYTES[name] * num_y * num_x // BLOCK_BYTES) for name, num_y, num_x in planes
    )
    return (PRIMARY_BLOCKS + blocks) * BLOCK_BYTES


def chips(frame_px: int, camera: Camera) -> list[tuple[int, int, int, int]]:
    """Each chip's (top, bottom, left, right) in the detector's own frame; the gap between two chips is left out."""
    side, half = frame_px, frame_px // 2
    if camera.footprint == "one_chip":
        return [(0, side, 0, side)]
    if camera.footprint == "two_chips":
        gap = max(1, side // 120)
        return [(0, half - gap, 0, side), (half + gap, side, 0, side)]
    inner = int(half * 0.46)
    return [(half, half + inner, half, half + inner), (half, side, 0, half), (0, half, 0, half), (0, half, half, side)]


def render_file(settings: SimulatorSettings, exposure: Exposure, kind: str, file_name: str) -> bytes:
    """The file's bytes. Raises KeyError for a kind that the simulator does not know."""
    if kind in PREVIEWS:
        return _preview(settings, exposure, file_name, is_colour=kind == "COLOR")
    mission = SIM_MISSIONS[exposure.camera.mission]
    planes = _PLANES[kind](settings, exposure) if kind not in SMALL_BLOCKS else iter(())
    units = [
        fits.ImageHDU(
            data,
            mission.extension_header(exposure, name, version, unit, wcs_of(_grid(settings, exposure, kind), origin)),
        )
        for name, version, unit, data, origin in planes
    ]
    blocks = SMALL_BLOCKS.get(kind, PRIMARY_BLOCKS) + exposure.extra_blocks
    primary = fits.PrimaryHDU(header=mission.primary_header(exposure, file_name, len(units), blocks))
    buffer = io.BytesIO()
    fits.HDUList([primary, *units]).writeto(buffer, output_verify="ignore")
    return buffer.getvalue()


def _grid(settings: SimulatorSettings, exposure: Exposure, kind: str) -> Frame:
    return exposure.frame if kind in COMBINED else chip_frame(settings, exposure.frame)


def _depth(exposure: Exposure) -> Depth:
    low, high = exposure.plan.kind.exposure_s
    typical_s = (low * high) ** 0.5 * (1.8 if exposure.band.line else 1.0)
    return Depth(camera=exposure.camera, band=exposure.band, exposure_s=exposure.exposure_s, typical_s=typical_s)


def _seen(exposure: Exposure, frame: Frame) -> Image:
    """The scene through the optics."""
    epoch = zlib.crc32(exposure.obs_id.encode())
    view = sky.view_of(frame, exposure.target, exposure.band, epoch)
    scene = sky.draw_scene(view, exposure.plan, exposure.target, exposure.seed)
    return convolve(scene, exposure.camera, exposure.band.wave_nm, frame.tilt_deg)


def _combined_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[Plane]:
    rng = numpy_rng(exposure.seed, "noise", exposure.noise_key)
    science, weight, context = combined(_seen(exposure, exposure.frame), _depth(exposure), exposure.frame, rng)
    if exposure.camera.fills_with_nan:
        science[weight == 0] = np.nan
    unit = "ELECTRONS/S"
    if exposure.camera.instrument == "WFPC2":
        science /= np.float32(exposure.camera.gain)
        unit = "COUNTS/S"
    for name, data, label in (("SCI", science, unit), ("WHT", weight, "UNITLESS"), ("CTX", context, "UNITLESS")):
        yield name, 1, label, data, (0, 0)


def _single_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[Plane]:
    image, error, flags = _one_exposure(settings, exposure)
    unit = "ELECTRONS"
    if exposure.camera.detector == "IR":
        image, error, unit = (
            image / np.float32(exposure.exposure_s),
            error / np.float32(exposure.exposure_s),
            "ELECTRONS/S",
        )
    for version, (top, bottom, left, right) in enumerate(chips(settings.frame_px, exposure.camera), start=1):
        for name, data, label in (("SCI", image, unit), ("ERR", error, unit), ("DQ", flags, "UNITLESS")):
            yield name, version, label, data[top:bottom, left:right], (top, left)


def _wfpc2_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[Plane]:
    image, _, _ = _one_exposure(settings, exposure)
    image /= np.float32(exposure.camera.gain)
    for version, (top, bottom, left, right) in enumerate(chips(settings.frame_px, exposure.camera), start=1):
        yield "SCI", version, "COUNTS", image[top:bottom, left:right], (top, left)


def _jwst_combined_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[Plane]:
    rng = numpy_rng(exposure.seed, "noise", exposure.noise_key)
    science, weight, context = combined(_seen(exposure, exposure.frame), _depth(exposure), exposure.frame, rng)
    science *= np.float32(MJY_SR_PER_E_S)
    science[weight == 0] = np.nan
    error = np.sqrt(np.abs(science)) * np.float32(0.01)
    unit = "MJy/sr"
    for name, data, label in (("SCI", science, unit), ("ERR", error, unit), ("CON", context, ""), ("WHT", weight, "")):
        yield name, 1, label, data, (0, 0)


def _jwst_single_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[Plane]:
    image, error, flags = _one_exposure(settings, exposure)
    scale, unit = np.float32(MJY_SR_PER_E_S / exposure.exposure_s), "MJy/sr"
    quality = np.where(flags & HOT, np.uint32(DO_NOT_USE | HOT_PIXEL), np.uint32(0)).astype(np.uint32)
    for name, data, label in (("SCI", image * scale, unit), ("ERR", error * scale, unit), ("DQ", quality, "")):
        yield name, 1, label, data, (0, 0)


def _raw_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[Plane]:
    image, _, _ = _one_exposure(settings, exposure)
    counts = np.clip(image / exposure.camera.gain + 2400.0, 0, 65535).astype(np.uint16)
    for version, (top, bottom, left, right) in enumerate(chips(settings.frame_px, exposure.camera), start=1):
        yield "SCI", version, "COUNTS", counts[top:bottom, left:right], (top, left)


def _one_exposure(settings: SimulatorSettings, exposure: Exposure) -> tuple[Image, Image, npt.NDArray[np.int16]]:
    rng = numpy_rng(exposure.seed, "noise", exposure.noise_key, "single")
    chip_rng = numpy_rng(exposure.seed, "chip", exposure.camera.name)
    scene = _seen(exposure, chip_frame(settings, exposure.frame))
    if exposure.plan.kind.name == "calibration":
        scene = _calibration_scene(exposure, scene)
    return single(scene, _depth(exposure), rng, chip_rng)


def _calibration_scene(exposure: Exposure, blank_yx: Image) -> Image:
    """A flat's lamp with its vignetting, or the nothing of a dark."""
    if exposure.target.variant == "dark":
        return blank_yx
    y, x = np.ogrid[-1 : 1 : blank_yx.shape[0] * 1j, -1 : 1 : blank_yx.shape[1] * 1j]
    return np.asarray(400 * (1 - 0.12 * (x**2 + y**2) + 0.03 * x), np.float32)


def _preview(settings: SimulatorSettings, exposure: Exposure, file_name: str, *, is_colour: bool) -> bytes:
    """A small JPEG of the frame that the name's ending tells, or in colour, of up to three of the proposal's filters.

    Fill bytes, which the format allows before any marker, bring it to its size.
    """
    names = exposure.plan.filters
    if is_colour:
        bands = [exposure.camera.filter(names[place]) for place in (0, len(names) // 2, -1)]
        greys = [_grey(next(_combined_planes(settings, replace(exposure, band=band)))[3]) for band in bands]
        picture = Pictures.merge("RGB", greys)
    else:
        picture = _grey(next(_PLANES[file_name[-7:-4].upper()](settings, exposure))[3])
    size = PREVIEW_BYTES + exposure.extra_blocks * BLOCK_BYTES
    for quality in PREVIEW_QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= size:
            break
    return buffer.getvalue().removesuffix(JPEG_END).ljust(size - len(JPEG_END), b"\xff") + JPEG_END


def _grey(science_yx: npt.NDArray[np.generic]) -> Pictures.Image:
    """The frame in an asinh stretch, north of its axes up."""
    data = np.nan_to_num(np.asarray(science_yx, np.float32))
    noise = max(float(np.percentile(np.abs(data), 60)), 1e-9)
    grey = np.clip(60 * np.arcsinh(data / (2 * noise)) + 20, 0, 255).astype(np.uint8)
    return Pictures.fromarray(grey[::-1]).resize((PREVIEW_PX, PREVIEW_PX))


_PLANES = {
    "DRZ": _combined_planes, "DRC": _combined_planes, "FLT": _single_planes, "FLC": _single_planes,
    "C0M": _wfpc2_planes, "I2D": _jwst_combined_planes, "CAL": _jwst_single_planes,
    "RAW": _raw_planes, "D0M": _raw_planes,
}  # fmt: skip
