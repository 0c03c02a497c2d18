"""Which HDUs of a file hold the sky, and which accompany them. Decided on headers alone, before a pixel is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from astropy.io import fits as pyfits

from hubbleclip.errors import ImageError
from hubbleclip.images.cameras import Camera

SCIENCE = "SCI"
WEIGHT, QUALITY = "WHT", "DQ"
NOT_SCIENCE = re.compile(
    r"(WHT|WEIGHT|CTX|CON|ERR|ERROR|DQ|SAMP|TIME|EXP|EXPTIME|RMS|SIGMA|VAR|IVAR|NOISE|MASK|PSF|FLAT|BKG|MDRIZSKY"
    r"|DX|DY|DXY?|D2IMARR|WCSDVARR|PIXMAP|AREA|GAIN|SEGM.*|MODEL|HDRLET|RESID.*)$"
)
NOT_SCIENCE_FILE = re.compile(r"[_.](wht|weight|ctx|con|err|rms|dq|sigma|ivar|var|mask|psf|flat|seg|segm|spt|shm|bkg)$")
WFPC2_CHIPS = 4
PLANE_STEP = 1000


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


def science_layers(hdus: pyfits.HDUList, stem: str, camera: Camera, instrument: str | None) -> list[Layer]:
    """The images of the sky in a file, in file order. Raises ImageError `no_image` or `not_an_image`.

    `SCI` by name where there is one, else the primary image, else every image not named as an accompaniment (weights,
    errors, masks, distortion tables). Of the reads of an infrared ramp only the last, version 1, is taken.
    """
    if NOT_SCIENCE_FILE.search(stem.lower()):
        raise ImageError("not_an_image", "the file's name says that it accompanies an image")
    extensions = _science_extensions(hdus)
    if camera.reads_ramps and any(_name(hdu) == "SAMP" for hdu in hdus):
        extensions = extensions[:1]
    layers = [layer for index in extensions for layer in _layers_of(hdus, index, instrument)]
    if not layers:
        raise ImageError("not_an_image", "a cube that is neither one plane nor WFPC2's chips")
    return layers


def image_shape(hdu: Any) -> tuple[int, ...]:
    """Shape of an image HDU as its header claims, slowest axis first; () for tables, groups, bare headers and what
    astropy cannot make out.
    """
    is_group = isinstance(hdu, pyfits.GroupsHDU)
    shape = getattr(hdu, "shape", None) or ()
    return tuple(shape) if hdu.is_image and not is_group else ()


def _name(hdu: Any) -> str:
    return str(hdu.name).upper()


def _has_pixels(hdu: Any) -> bool:
    shape = image_shape(hdu)
    return len(shape) >= 2 and min(shape) > 0


def _science_extensions(hdus: pyfits.HDUList) -> list[int]:
    images = [index for index, hdu in enumerate(hdus) if _has_pixels(hdu)]
    named = [index for index in images if _name(hdus[index]) == SCIENCE]
    if named:
        return named
    if any(_name(hdu) == SCIENCE for hdu in hdus):
        raise ImageError("no_image", "its SCI extension holds no two-dimensional pixels")
    others = [index for index in images if not NOT_SCIENCE.match(_name(hdus[index]))]
    if not others:
        raise ImageError("no_image", "no HDU holds two-dimensional pixels of the sky")
    return [0] if 0 in others else others


def _layers_of(hdus: pyfits.HDUList, index: int, instrument: str | None) -> list[Layer]:
    shape = image_shape(hdus[index])
    quality, weight = (_companion(hdus, index, name) for name in (QUALITY, WEIGHT))
    planes = shape[:-2]
    if all(length == 1 for length in planes):
        return [Layer(index, None, quality, weight)]
    if instrument == "WFPC2" and len(planes) == 1 and planes[0] <= WFPC2_CHIPS:
        return [Layer(index, plane, quality, weight) for plane in range(planes[0])]
    return []


def _companion(hdus: pyfits.HDUList, index: int, name: str) -> int | None:
    """The extension `name` of the same version and shape as the science extension `index`."""
    science = hdus[index]
    return next(
        (
            number
            for number, hdu in enumerate(hdus)
            if _name(hdu) == name and image_shape(hdu) == image_shape(science) and hdu.ver == science.ver
        ),
        None,
    )
