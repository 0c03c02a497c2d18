"""One scale of brightness for all images: black and white in electrons a second and square arcsecond."""

from __future__ import annotations

from dataclasses import replace

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.wcs import pixel_area_deg2

ARCSEC2_A_DEG2 = 3600.0**2
COUNTS = ("COUNTS", "COUNT", "DN", "ADU", "CTS")
ELECTRONS = ("ELECTRONS", "ELECTRON", "E-")


def fix_limits(stretch: Stretch, image: ScienceImage, settings: TileSettings) -> Stretch:
    """The stretch with the settings' black, white and softening, above the sky. Raises ImageError `no_flux_scale`."""
    unit = 1 / flux_of_unit(image)
    return replace(
        stretch,
        black=stretch.sky + settings.flux_black * unit,
        white=stretch.sky + settings.flux_white * unit,
        softening=settings.flux_softening * unit,
    )


def flux_of_unit(image: ScienceImage) -> float:
    """What a pixel value of 1 is in electrons / s / arcsec2, by unit, gain, exposure time and the area of a pixel.

    Raises ImageError `no_flux_scale` where unit or header do not tell.
    """
    unit = (image.unit or "").upper().replace(" ", "")
    quantity, _, time = unit.replace("CPS", "COUNTS/S").partition("/")
    if quantity not in COUNTS + ELECTRONS or time not in {"", "S", "SEC", "SECOND"}:
        raise ImageError(
            "no_flux_scale", f"its unit is {image.unit!r}, neither electrons nor counts, whole or a second"
        )
    electrons = 1.0 if quantity in ELECTRONS else image.gain
    seconds = 1.0 if time else image.exposure_s
    if not electrons or not seconds or seconds <= 0:
        raise ImageError("no_flux_scale", "the header names no gain or no exposure time")
    if image.wcs is None:
        raise ImageError("no_flux_scale", "without a WCS the area of a pixel is not known")
    return electrons / seconds / (pixel_area_deg2(image.wcs) * ARCSEC2_A_DEG2)
