"""Which HDUs of a file hold images of the sky, and their quality and weight; from headers alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from astropy.io import fits as pyfits

from hubbleclip.core.errors import ImageError
from hubbleclip.missions import Camera

SCIENCE = "SCI"
COMPANIONS = "DQ", "WHT"  # data quality flags and weight of an image
NOT_SCIENCE = re.compile(
    r"(WHT|WEIGHT|CTX|CON|ERR|ERROR|DQ|SAMP|TIME|EXP|EXPTIME|RMS|SIGMA|VAR|IVAR|NOISE|MASK|PSF|FLAT|BKG|MDRIZSKY"
    r"|VAR_\w+|DX|DY|DXY?|D2IMARR|WCSDVARR|PIXMAP|AREA|GAIN|SEGM.*|MODEL|HDRLET|RESID.*)$"
)
NOT_SCIENCE_FILE = re.compile(r"[_.](wht|weight|ctx|con|err|rms|dq|sigma|ivar|var|mask|psf|flat|seg|segm|spt|shm|bkg)$")
PLANE_STEP = 1000
MAX_SCIENCE = 500
"""Science extensions per file: a camera's file has up to four, that of a long series of exposures some dozens."""

Companions = Mapping[tuple[str, Any, tuple[int, ...]], int]
"""Index of each companion extension by its name, EXTVER and shape."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One image to read.

    Attributes
    ----------
    extension
        Index of its HDU.
    plane
        Plane of a cube; None for a two-dimensional image.
    quality, weight
        Indices of the HDUs of its DQ and WHT; None without.

    """

    extension: int
    plane: int | None
    quality: int | None
    weight: int | None

    @property
    def chip(self) -> int:
        """Number of the image, unique in a file: the extension, plus 1000 per plane of a cube after the first."""
        return self.extension + PLANE_STEP * (self.plane or 0)


def science_layers(hdus: pyfits.HDUList, stem: str, camera: Camera) -> list[Layer]:
    """Find the images of the sky in a file, in file order.

    Parameters
    ----------
    hdus
        The open file; only headers are read.
    stem
        The file's name without suffix; it may say that the file accompanies an image.
    camera
        Of the file.

    Returns
    -------
    list of Layer
        The extensions named SCI, else the primary image, else every image that is not named as a weight, error, mask
        or distortion table. Of the reads of an infrared ramp only the last one, EXTVER 1.

    Raises
    ------
    ImageError
        `no_image`, `not_an_image` or `too_large`.

    """
    if NOT_SCIENCE_FILE.search(stem.lower()):
        raise ImageError("not_an_image", "the file's name says that it accompanies an image")
    names = [str(hdu.name).upper() for hdu in hdus]
    extensions = _science_extensions(hdus, names)
    if camera.reads_ramps and "SAMP" in names:
        extensions = extensions[:1]
    if len(extensions) > MAX_SCIENCE:
        raise ImageError("too_large", f"{len(extensions)} science extensions, more than {MAX_SCIENCE}")
    companions = _companions(hdus, names)
    layers = [layer for index in extensions for layer in _layers_of(hdus, companions, index, camera.planes)]
    if not layers:
        raise ImageError("not_an_image", "a cube that is neither one plane nor the chips of a camera")
    return layers


def image_shape(hdu: Any) -> tuple[int, ...]:
    """Read the shape of an image from its header.

    Parameters
    ----------
    hdu
        An astropy HDU.

    Returns
    -------
    tuple of int
        Slowest axis first; () for tables, random groups, headers without data and HDUs that astropy cannot interpret.

    """
    is_group = isinstance(hdu, pyfits.GroupsHDU)
    shape = getattr(hdu, "shape", None) or ()
    return tuple(shape) if hdu.is_image and not is_group else ()


def _has_pixels(hdu: Any) -> bool:
    """Whether an HDU claims an image of two axes or more."""
    shape = image_shape(hdu)
    return len(shape) >= 2 and min(shape) > 0


def _science_extensions(hdus: pyfits.HDUList, names: Sequence[str]) -> list[int]:
    """Indices of the science extensions. Raises ImageError `no_image`."""
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
    """The first DQ and WHT of each version and shape."""
    companions: dict[tuple[str, Any, tuple[int, ...]], int] = {}
    for index, name in enumerate(names):
        if name in COMPANIONS:
            companions.setdefault((name, hdus[index].ver, image_shape(hdus[index])), index)
    return companions


def _layers_of(hdus: pyfits.HDUList, companions: Companions, index: int, max_planes: int) -> list[Layer]:
    """The images of an extension, with the DQ and WHT of its version and shape; [] for a cube of another kind."""
    shape, version = image_shape(hdus[index]), hdus[index].ver
    quality, weight = (companions.get((name, version, shape)) for name in COMPANIONS)
    planes = shape[:-2]
    if all(length == 1 for length in planes):
        return [Layer(index, None, quality, weight)]
    if len(planes) == 1 and planes[0] <= max_planes:
        return [Layer(index, plane, quality, weight) for plane in range(planes[0])]
    return []
