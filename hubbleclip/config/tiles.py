"""Settings of the tiles. They have their own module, so that code that cuts tiles need not import other settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hubbleclip.config.base import Section

RECIPE = 10
"""Version of the algorithm that turns FITS files into tiles; a change of the algorithm gives tiles new ids."""
MIN_SIGNAL_SHARE = 0.0005
"""Minimum share of a tile's valid pixels that count as signal. A pixel counts if the mean of its 3x3 neighbourhood is
more than `signal_sigma` noise sigmas above the sky level. Tiles with a smaller share are rejected as empty.
"""
FLUX_BLACK, FLUX_WHITE, FLUX_SOFTENING = -0.05, 500.0, 0.5
"""Black point, white point and softening of the stretch if `limits` is `flux`, in e-/s/arcsec2 above the sky. Black and
white point cover the range from empty sky to the core of a bright galaxy.
"""


class TileSettings(Section):
    """How an image is cut into tiles."""

    added_later: ClassVar[frozenset[str]] = frozenset({"mask_white_border"})
    fixed: ClassVar[Mapping[str, Any]] = {
        "recipe": RECIPE,
        "min_signal_share": MIN_SIGNAL_SHARE,
        "flux_black": FLUX_BLACK,
        "flux_white": FLUX_WHITE,
        "flux_softening": FLUX_SOFTENING,
    }

    size_px: int = Field(512, ge=32, le=4096)
    """Side of a tile in pixels."""
    overlap_px: int = Field(0, ge=0)
    """Minimum overlap of neighbouring tiles in pixels."""
    stride_px: int = Field(0, ge=0)
    """Grid step in pixels; 0 means `size_px - overlap_px`. With a step above `size_px`, the tiles do not cover the
    whole field.
    """
    views: tuple[Literal["native", "overview", "aim"], ...] = ("native", "overview")
    """Tiles of an image: `native`, a grid at full resolution; `overview`, the whole field downsampled by area averaging
    to one tile; `aim`, one tile at full resolution centred on the position at which the telescope was
    aimed.
    """
    object_scale: bool = False
    """If an image fits into one native tile, and the object in the image fills less than 20 % of that tile, cut a
    smaller tile around the object, at full resolution. The smaller tile has a side of at least `min_side_px`.
    """
    colour: bool = False
    """Also make a colour tile of each visit with at least three filters, from images that are aligned on the sky."""
    mask_white_border: bool = False
    """For JPEG files: treat white areas that touch the border as invalid pixels. Previews of drizzled images have such
    areas in their corners.
    """
    format: Literal["png", "jpeg"] = "png"
    """File format of tiles: PNG is lossless, JPEG (quality 95) is smaller."""
    min_side_px: int = Field(64, ge=1)
    """Minimum shorter side of an image in pixels; smaller images are rejected. Images whose shorter side is between
    this value and `size_px` are padded with the sky level.
    """
    min_valid_share: float = Field(0.4, ge=0, le=1)
    """Minimum share of valid pixels in a tile."""
    signal_sigma: float = Field(5.0, gt=0)
    """A pixel counts as signal if the mean of its 3x3 neighbourhood is more than this number of noise sigmas above the
    sky level. Tiles without signal are rejected.
    """
    stretch: Literal["asinh", "linear", "zscale"] = "asinh"
    """Name of the stretch in the registry."""
    softening_sigma: float = Field(3.0, gt=0)
    """Level at which the asinh stretch turns from linear to logarithmic, in noise sigmas."""
    black_sigma: float = Field(1.0, ge=0)
    """Black point, in noise sigmas below the sky level."""
    white_quantile: float = Field(0.9995, gt=0.5, le=1)
    """White point, as a quantile of the valid pixels."""
    limits: Literal["image", "flux"] = "image"
    """How black and white points are set: `image` sets them for each image; `flux` sets them to -0.05 and 500
    e-/s/arcsec2 above the sky, so that the brightness of tiles can be compared.
    """
    max_pixels: int = Field(600_000_000, ge=1)
    """Maximum number of pixels of an image; if the header declares more, the image is rejected before memory is
    allocated.
    """

    @model_validator(mode="after")
    def _makes_sense_together(self) -> Self:
        """Refuse values that are valid individually but unusable together."""
        if not self.views:
            raise ValueError("tiles.views is empty: name at least one of native, overview, aim")
        if self.overlap_px >= self.size_px and not self.stride_px:
            raise ValueError(f"tiles.overlap_px = {self.overlap_px} must be below tiles.size_px = {self.size_px}")
        return self
