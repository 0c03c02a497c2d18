"""Find the HDUs of a FITS file that hold images of the sky, with their DQ and WHT HDUs. Only headers are read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from astropy.io import fits as pyfits

from hubbleclip.core.errors import ImageError
from hubbleclip.missions import Camera
from hubbleclip.missions.base import RAMP

SCIENCE = "SCI"
COMPANIONS = "DQ", "WHT"  # names of the extensions that hold an image's data quality flags and weights
NOT_SCIENCE = re.compile(
    r"(WHT|WEIGHT|CTX|CON|ERR|ERROR|DQ|SAMP|TIME|EXP|EXPTIME|RMS|SIGMA|VAR|IVAR|NOISE|MASK|PSF|FLAT|BKG|MDRIZSKY"
    r"|VAR_\w+|DX|DY|DXY?|D2IMARR|WCSDVARR|PIXMAP|AREA|GAIN|SEGM.*|MODEL|HDRLET|RESID.*)$"
)
NOT_SCIENCE_FILE = re.compile(r"[_.](wht|weight|ctx|con|err|rms|dq|sigma|ivar|var|mask|psf|flat|seg|segm|spt|shm|bkg)$")
PLANE_STEP = 1000
FOREIGN_CUBE = "a cube whose planes are not the chips of its camera"
MAX_SCIENCE = 500
"""Maximum number of science extensions per file. Most files have at most four, but a series of exposures has dozens."""

Companions = Mapping[tuple[str, Any, tuple[int, ...]], int]
"""Index of each DQ and WHT extension, by the extension's name, EXTVER and shape."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One image to read.

    Attributes
    ----------
    extension
        Index of the HDU that holds the image.
    plane
        Index of the image's plane in a cube; None for a two-dimensional image.
    quality, weight
        Indices of the image's DQ and WHT HDUs; None where the file has no such HDU.

    """

    extension: int
    plane: int | None
    quality: int | None
    weight: int | None

    @property
    def chip(self) -> int:
        """Number of the image, unique in its file: the extension's index, plus 1000 times the plane's index."""
        return self.extension + PLANE_STEP * (self.plane or 0)


@dataclass(frozen=True, slots=True)
class UnusedImage:
    """An image that is not read, and the reason. `chip` is the number of the image; see `Layer.chip`."""

    chip: int
    reason: str
    detail: str


def science_layers(hdus: pyfits.HDUList, stem: str, camera: Camera) -> tuple[list[Layer], tuple[UnusedImage, ...]]:
    """Find the images of the sky in a file, in file order; list the other images with the reasons not to use them.

    The images of the sky are the extensions named SCI. If no extension is named SCI, the primary image is used. If
    there is no primary image either, all images are used, except weights, errors and masks (by their names). Only the
    last read (EXTVER 1) of an infrared ramp is used. Raises ImageError if the file has no image of the sky or too many.
    """
    if NOT_SCIENCE_FILE.search(stem.lower()):
        raise ImageError("not_an_image", "the file's name marks it as a file that accompanies an image, such as a mask")
    names = [str(hdu.name).upper() for hdu in hdus]
    shapes = [image_shape(hdu) for hdu in hdus]
    images = [index for index, shape in enumerate(shapes) if len(shape) >= 2 and min(shape) > 0]
    extensions = _science_extensions(images, names)
    if camera.kind == RAMP and "SAMP" in names:
        extensions = extensions[:1]
    if len(extensions) > MAX_SCIENCE:
        raise ImageError("too_large", f"{len(extensions)} science extensions, more than {MAX_SCIENCE}")
    companions = _companions(hdus, names)
    layers_by_extension = {index: _layers_of(hdus, companions, index, camera.planes) for index in extensions}
    layers = [layer for found in layers_by_extension.values() for layer in found]
    if not layers:
        raise ImageError("not_an_image", f"the file holds {FOREIGN_CUBE}")
    candidates = (index for index in images if not NOT_SCIENCE.match(names[index]))
    unused = (_unused(index, names, layers_by_extension) for index in candidates if not layers_by_extension.get(index))
    return layers, tuple(unused)


def _unused(index: int, names: Sequence[str], extensions: Collection[int]) -> UnusedImage:
    """Return an image that is not read, with the reason. `extensions` are the indices of the science extensions."""
    if index in extensions:
        return UnusedImage(index, "not_an_image", FOREIGN_CUBE)
    if names[index] == SCIENCE:
        return UnusedImage(index, "not_chosen", "an earlier read of the ramp; only the last read (EXTVER 1) is used")
    if SCIENCE in names:
        return UnusedImage(index, "not_chosen", "the file has extensions named SCI, and only these are used")
    return UnusedImage(index, "not_chosen", "no extension is named SCI, so only the primary image is used")


def image_shape(hdu: Any) -> tuple[int, ...]:
    """Read the shape of an image from its header, slowest axis first; () if the HDU is not an image."""
    is_group = isinstance(hdu, pyfits.GroupsHDU)
    shape = getattr(hdu, "shape", None) or ()
    return tuple(shape) if hdu.is_image and not is_group else ()


def _science_extensions(images: Sequence[int], names: Sequence[str]) -> list[int]:
    """Return the indices of the science extensions. Raises ImageError `no_image` if the file has none."""
    named = [index for index in images if names[index] == SCIENCE]
    if named:
        return named
    if SCIENCE in names:
        raise ImageError("no_image", "the file's SCI extension holds no two-dimensional image")
    others = [index for index in images if not NOT_SCIENCE.match(names[index])]
    if not others:
        raise ImageError("no_image", "no HDU holds a two-dimensional image of the sky")
    return [0] if 0 in others else others


def _companions(hdus: pyfits.HDUList, names: Sequence[str]) -> Companions:
    """Find the DQ and WHT extensions; only the first extension with a given name, EXTVER and shape is kept."""
    companions: dict[tuple[str, Any, tuple[int, ...]], int] = {}
    for index, name in enumerate(names):
        if name in COMPANIONS:
            companions.setdefault((name, hdus[index].ver, image_shape(hdus[index])), index)
    return companions


def _layers_of(hdus: pyfits.HDUList, companions: Companions, index: int, max_planes: int) -> list[Layer]:
    """Return an extension's images, each with its DQ and WHT; [] for a cube whose planes are not the camera's chips."""
    shape, version = image_shape(hdus[index]), hdus[index].ver
    quality, weight = (companions.get((name, version, shape)) for name in COMPANIONS)
    planes = shape[:-2]
    if all(length == 1 for length in planes):
        return [Layer(index, None, quality, weight)]
    if len(planes) == 1 and planes[0] <= max_planes:
        return [Layer(index, plane, quality, weight) for plane in range(planes[0])]
    return []
