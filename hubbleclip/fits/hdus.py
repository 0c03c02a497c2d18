"""Which HDUs of a file hold the sky, and which accompany them. Decided on headers alone, before a pixel is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from astropy.io import fits as pyfits

from hubbleclip.core.errors import ImageError
from hubbleclip.fits.instruments import Camera

SCIENCE = "SCI"
COMPANIONS = "DQ", "WHT"  # the quality and the weight of an image
NOT_SCIENCE = re.compile(
    r"(WHT|WEIGHT|CTX|CON|ERR|ERROR|DQ|SAMP|TIME|EXP|EXPTIME|RMS|SIGMA|VAR|IVAR|NOISE|MASK|PSF|FLAT|BKG|MDRIZSKY"
    r"|DX|DY|DXY?|D2IMARR|WCSDVARR|PIXMAP|AREA|GAIN|SEGM.*|MODEL|HDRLET|RESID.*)$"
)
NOT_SCIENCE_FILE = re.compile(r"[_.](wht|weight|ctx|con|err|rms|dq|sigma|ivar|var|mask|psf|flat|seg|segm|spt|shm|bkg)$")
PLANE_STEP = 1000
MAX_SCIENCE = 500
"""Science extensions of a file: those of a camera have two, those of a long series of exposures some dozens."""

Companions = Mapping[tuple[str, Any, tuple[int, ...]], int]
"""The extension of each companion, by its name, version and shape."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One image to read: its extension, the plane of a cube (None if 2-D), and the HDUs of its quality and weight."""

    extension: int
    plane: int | None
    quality: int | None
    weight: int | None

    @property
    def chip(self) -> int:
        """The extension, plus 1000 for each plane of a cube after the first: unique in a file."""
        return self.extension + PLANE_STEP * (self.plane or 0)


def science_layers(hdus: pyfits.HDUList, stem: str, camera: Camera) -> list[Layer]:
    """The images of the sky in a file, in file order. Raises ImageError `no_image`, `not_an_image` or `too_large`.

    `SCI` by name where there is one, else the primary image, else every image not named as an accompaniment (weights,
    errors, masks, distortion tables). Of the reads of an infrared ramp only the last, version 1, is taken.
    """
    if NOT_SCIENCE_FILE.search(stem.lower()):
        raise ImageError("not_an_image", "the file's name says that it accompanies an image")
    names = [str(hdu.name).upper() for hdu in hdus]
    extensions = _science_extensions(hdus, names)
    if camera.reads_ramps and "SAMP" in names:
        extensions = extensions[:1]
    if len(extensions) > MAX_SCIENCE:
        raise ImageError("too_large", f"{len(extensions)} extensions of the sky, more than {MAX_SCIENCE}")
    companions = _companions(hdus, names)
    layers = [layer for index in extensions for layer in _layers_of(hdus, companions, index, camera.planes)]
    if not layers:
        raise ImageError("not_an_image", "a cube that is neither one plane nor the chips of a camera")
    return layers


def image_shape(hdu: Any) -> tuple[int, ...]:
    """Shape of an image HDU as its header claims, slowest axis first; () for tables, groups, bare headers and what
    astropy cannot make out.
    """
    is_group = isinstance(hdu, pyfits.GroupsHDU)
    shape = getattr(hdu, "shape", None) or ()
    return tuple(shape) if hdu.is_image and not is_group else ()


def _has_pixels(hdu: Any) -> bool:
    shape = image_shape(hdu)
    return len(shape) >= 2 and min(shape) > 0


def _science_extensions(hdus: pyfits.HDUList, names: Sequence[str]) -> list[int]:
    images = [index for index, hdu in enumerate(hdus) if _has_pixels(hdu)]
    named = [index for index in images if names[index] == SCIENCE]
    if named:
        return named
    if SCIENCE in names:
        raise ImageError("no_image", "its SCI extension holds no two-dimensional pixels")
    others = [index for index in images if not NOT_SCIENCE.match(names[index])]
    if not others:
        raise ImageError("no_image", "no HDU holds two-dimensional pixels of the sky")
    return [0] if 0 in others else others


def _companions(hdus: pyfits.HDUList, names: Sequence[str]) -> Companions:
    """The first of each name, version and shape."""
    found: dict[tuple[str, Any, tuple[int, ...]], int] = {}
    for index, name in enumerate(names):
        if name in COMPANIONS:
            found.setdefault((name, hdus[index].ver, image_shape(hdus[index])), index)
    return found


def _layers_of(hdus: pyfits.HDUList, companions: Companions, index: int, max_planes: int) -> list[Layer]:
    """The planes of an extension, accompanied by what has its version and shape."""
    shape, version = image_shape(hdus[index]), hdus[index].ver
    quality, weight = (companions.get((name, version, shape)) for name in COMPANIONS)
    planes = shape[:-2]
    if all(length == 1 for length in planes):
        return [Layer(index, None, quality, weight)]
    if len(planes) == 1 and planes[0] <= max_planes:
        return [Layer(index, plane, quality, weight) for plane in range(planes[0])]
    return []
