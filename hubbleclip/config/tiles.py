"""Settings of the way from an image to its tiles, apart from all others: who only cuts tiles need not load those."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hubbleclip.config.base import Section


class TileSettings(Section):
    """How an image becomes tiles."""

    recipe: Literal[5] = 5
    """Version of the way from FITS to the bytes of a tile; a release that changes it gives its tiles new identities."""
    size_px: int = Field(512, ge=32, le=4096)
    """Side of a tile in pixels."""
    overlap_px: int = Field(0, ge=0)
    """Pixels that neighbouring tiles share at least."""
    stride_px: int = Field(0, ge=0)
    """Step of the grid in place of `size_px - overlap_px`; larger than `size_px` samples the field; 0 is not used."""
    views: tuple[Literal["native", "overview", "aim"], ...] = ("native", "overview")
    """Which tiles an image gives: `native`, the grid of its own pixels; `overview`, the whole field shrunk by area to
    one tile; `aim`, one tile of its own pixels centred on the aim point.
    """
    colour: bool = False
    """Also a colour tile of each visit with three filters or more, aligned on the sky."""
    format: Literal["png", "jpeg"] = "png"
    """How a tile is stored: PNG keeps every level, JPEG (quality 95) is smaller and loses some."""
    min_side_px: int = Field(64, ge=1)
    """An image whose shorter side is below this is rejected; between this and `size_px` it is padded with its sky
    level.
    """
    min_valid_share: float = Field(0.4, ge=0, le=1)
    """Least share of valid pixels of a tile."""
    min_signal_share: float = Field(0.0005, ge=0, le=1)
    """Least share of valid pixels above `signal_sigma`, after smoothing; below it the tile counts as empty."""
    signal_sigma: float = Field(5.0, gt=0)
    """A pixel this many noise sigmas above the sky counts as signal."""
    stretch: Literal["asinh", "linear", "zscale"] = "asinh"
    """Stretch by its name in the registry."""
    softening_sigma: float = Field(3.0, gt=0)
    """asinh is linear below and logarithmic above this many noise sigmas."""
    black_sigma: float = Field(1.0, ge=0)
    """Black point: this many noise sigmas below the sky."""
    white_quantile: float = Field(0.9995, gt=0.5, le=1)
    """White point: this quantile of the valid pixels."""
    limits: Literal["image", "flux"] = "image"
    """Black and white of each image's own, or fixed ones in e-/s/arcsec2, so that tiles compare in brightness."""
    flux_black: float = -0.05
    """With `limits = "flux"`: black, above the sky, in e-/s/arcsec2."""
    flux_white: float = 500.0
    """With `limits = "flux"`: white, above the sky, in e-/s/arcsec2."""
    flux_softening: float = Field(0.5, gt=0)
    """With `limits = "flux"`: where asinh turns from linear to logarithmic, in e-/s/arcsec2."""
    max_pixels: int = Field(600_000_000, ge=1)
    """A header that claims more pixels in one image is refused before memory is taken."""

    @model_validator(mode="after")
    def _makes_sense_together(self) -> Self:
        """Refuse values that are each in range and together give no tiles, or far too many."""
        if not self.views:
            raise ValueError("tiles.views is empty: name at least one of native, overview, aim")
        if self.overlap_px >= self.size_px and not self.stride_px:
            raise ValueError(f"tiles.overlap_px = {self.overlap_px} must be below tiles.size_px = {self.size_px}")
        if self.limits == "flux" and not self.flux_black < self.flux_white:
            raise ValueError(f"tiles.flux_black = {self.flux_black} must be below tiles.flux_white = {self.flux_white}")
        return self
