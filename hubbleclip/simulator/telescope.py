"""Files of an observation: rendered when asked for, of a size that is known before."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from PIL import Image as Pictures

from hubbleclip.settings import SimulatorSettings
from hubbleclip.simulator import sky
from hubbleclip.simulator.detector import Depth, combined, single
from hubbleclip.simulator.draws import numpy_rng
from hubbleclip.simulator.frames import Frame, chip_frame
from hubbleclip.simulator.headers import (
    BLOCK_BYTES,
    EXTENSION_BLOCKS,
    PRIMARY_BLOCKS,
    Exposure,
    extension_header,
    primary_header,
    wcs_of,
)
from hubbleclip.simulator.instruments import Camera
from hubbleclip.simulator.objects.view import Image
from hubbleclip.simulator.optics import convolve

__all__ = ["Exposure", "file_size", "render_file"]

COMBINED = frozenset({"DRZ", "DRC"})
SMALL_BLOCKS = {"SPT": 3, "SHM": 4, "TRL": 3}
PREVIEW_BYTES = 49_152
PREVIEW_PX = 256
DATA_BYTES = {"SCI": 4, "WHT": 4, "CTX": 4, "ERR": 4, "DQ": 2, "RAW": 2}
Plane = tuple[str, int, str, npt.NDArray[np.generic], tuple[int, int]]


def file_size(settings: SimulatorSettings, camera: Camera, frame: Frame, kind: str) -> int:
    """Exact bytes of a file, from its layout alone."""
    if kind == "JPG":
        return PREVIEW_BYTES
    if kind in SMALL_BLOCKS:
        return SMALL_BLOCKS[kind] * BLOCK_BYTES
    if kind in COMBINED:
        planes = [(name, frame.num_y, frame.num_x) for name in ("SCI", "WHT", "CTX")]
    else:
        names = {"RAW": ("RAW",), "D0M": ("RAW",), "C0M": ("SCI",)}.get(kind, ("SCI", "ERR", "DQ"))
        planes = [
            (name, bottom - top, right - left) for top, bottom, left, right in chips(settings, camera) for name in names
        ]
    blocks = sum(
        EXTENSION_BLOCKS + -(-DATA_BYTES[name] * num_y * num_x // BLOCK_BYTES) for name, num_y, num_x in planes
    )
    return (PRIMARY_BLOCKS + blocks) * BLOCK_BYTES


def chips(settings: SimulatorSettings, camera: Camera) -> list[tuple[int, int, int, int]]:
    """Each chip's (top, bottom, left, right) in the detector's own frame; the gap between two chips is left out."""
    side, half = settings.frame_px, settings.frame_px // 2
    if camera.footprint == "one_chip":
        return [(0, side, 0, side)]
    if camera.footprint == "two_chips":
        gap = max(1, side // 120)
        return [(0, half - gap, 0, side), (half + gap, side, 0, side)]
    inner = int(half * 0.46)
    return [(half, half + inner, half, half + inner), (half, side, 0, half), (0, half, 0, half), (0, half, half, side)]


def render_file(settings: SimulatorSettings, exposure: Exposure, kind: str, file_name: str) -> bytes:
    """The file's bytes. Raises KeyError for a kind that the simulator does not know."""
    if kind == "JPG":
        return _preview(settings, exposure)
    planes = _PLANES[kind](settings, exposure) if kind not in SMALL_BLOCKS else iter(())
    units = [
        fits.ImageHDU(
            data, extension_header(exposure, name, version, unit, wcs_of(_grid(settings, exposure, kind), origin))
        )
        for name, version, unit, data, origin in planes
    ]
    blocks = SMALL_BLOCKS.get(kind, PRIMARY_BLOCKS)
    primary = fits.PrimaryHDU(header=primary_header(exposure, file_name, len(units), blocks))
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
    rng = numpy_rng(exposure.seed, "noise", exposure.obs_id)
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
    for version, (top, bottom, left, right) in enumerate(chips(settings, exposure.camera), start=1):
        for name, data, label in (("SCI", image, unit), ("ERR", error, unit), ("DQ", flags, "UNITLESS")):
            yield name, version, label, data[top:bottom, left:right], (top, left)


def _wfpc2_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[Plane]:
    image, _, _ = _one_exposure(settings, exposure)
    image /= np.float32(exposure.camera.gain)
    for version, (top, bottom, left, right) in enumerate(chips(settings, exposure.camera), start=1):
        yield "SCI", version, "COUNTS", image[top:bottom, left:right], (top, left)


def _raw_planes(settings: SimulatorSettings, exposure: Exposure) -> Iterator[Plane]:
    image, _, _ = _one_exposure(settings, exposure)
    counts = np.clip(image / exposure.camera.gain + 2400.0, 0, 65535).astype(np.uint16)
    for version, (top, bottom, left, right) in enumerate(chips(settings, exposure.camera), start=1):
        yield "SCI", version, "COUNTS", counts[top:bottom, left:right], (top, left)


def _one_exposure(settings: SimulatorSettings, exposure: Exposure) -> tuple[Image, Image, npt.NDArray[np.int16]]:
    rng = numpy_rng(exposure.seed, "noise", exposure.obs_id, "single")
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


def _preview(settings: SimulatorSettings, exposure: Exposure) -> bytes:
    """A small JPEG, filled up with zero bytes to PREVIEW_BYTES after its end marker."""
    science = next(_combined_planes(settings, exposure))[3]
    data = np.nan_to_num(np.asarray(science, np.float32))
    noise = max(float(np.percentile(np.abs(data), 60)), 1e-9)
    grey = np.clip(60 * np.arcsinh(data / (2 * noise)) + 20, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Pictures.fromarray(grey[::-1]).resize((PREVIEW_PX, PREVIEW_PX)).save(buffer, "JPEG", quality=60)
    return buffer.getvalue().ljust(PREVIEW_BYTES, b"\0")


_PLANES = {
    "DRZ": _combined_planes, "DRC": _combined_planes, "FLT": _single_planes, "FLC": _single_planes,
    "C0M": _wfpc2_planes,
    "RAW": _raw_planes, "D0M": _raw_planes,
}  # fmt: skip
