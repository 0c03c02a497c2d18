"""The view of a scene that a renderer draws: coordinates of each pixel, a filter, and drawing functions.

In scene coordinates, x increases to the west and y to the north. One scene unit is half the side of the target's field.
The unit of surface brightness is the noise of one pixel in a typical combined exposure. A brightness of 5 is clearly
visible, and a brightness of 1 is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

Image = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
# Side of a periodic noise tile. It is a power of two, so that a bit mask gives an index modulo the side.
TEXTURE_PX = 512
LINE_LEAK = 0.35  # Flux of a line in a broad-band filter, relative to the flux in a narrow-band filter.
WHITE_NM = 600.0  # At this wavelength, sources of all colours have a flux of 1.


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One frame of a scene, through one filter.

    `x_yx` and `y_yx` are the scene coordinates of each pixel, and `pixel_size` is the side of a pixel in scene units.
    `angle_deg` is the roll of the frame, and `centre_xy` is the frame's centre in scene units. `wave_nm` is the central
    wavelength of the filter. `line` is the emission line that a narrow-band filter isolates; it is empty for a
    broad-band filter. `epoch` identifies the observation, because a moving target looks different in each observation.
    """

    x_yx: Image
    y_yx: Image
    pixel_size: float
    angle_deg: float
    centre_xy: tuple[float, float]
    wave_nm: float
    line: str
    epoch: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the frame, (rows, columns)."""
        return self.x_yx.shape[0], self.x_yx.shape[1]

    def blank_image(self) -> Image:
        """Make an image of zeros."""
        return np.zeros(self.shape, np.float32)

    def continuum_flux(self, colour: float) -> float:
        """Compute the flux of a continuum source in the filter, relative to a white source in a broad-band filter."""
        continuum = float(np.clip((self.wave_nm / WHITE_NM) ** (1.5 * colour), 0.08, 8.0))
        return continuum * (0.3 if self.line else 1.0)  # A narrow-band filter transmits little continuum.

    def line_flux(self, **lines: float) -> float:
        """Compute the relative flux of gas; `lines` maps each emission line to its flux in a narrow-band filter."""
        if self.line:
            return lines.get(self.line, 0.4)  # An emission line that is not listed has the strength 0.4.
        # A broad-band filter contains H-alpha if its central wavelength is above 560 nm, and [O III] otherwise.
        return LINE_LEAK * (lines.get("HA", 1.0) if self.wave_nm > 560 else lines.get("OIII", 0.6))

    def polar_coordinates(
        self, x0: float, y0: float, axis_ratio: float = 1.0, angle: float = 0.0
    ) -> tuple[Image, Image]:
        """Compute the elliptical radius and the azimuth (radians) around a point.

        Along the major axis (direction `angle` in radians from +x to +y), the radius equals the distance to the point.
        """
        u, v = self.rotated_coordinates(x0, y0, angle)
        v /= np.float32(axis_ratio)
        return np.hypot(u, v), np.arctan2(v, u)

    def elliptical_radius(self, x0: float, y0: float, axis_ratio: float = 1.0, angle: float = 0.0) -> Image:
        """Compute only the elliptical radius around a point; this is faster than `polar_coordinates`."""
        u, v = self.rotated_coordinates(x0, y0, angle)
        return np.asarray(np.hypot(u, v / np.float32(axis_ratio)), np.float32)

    def rotated_coordinates(self, x0: float, y0: float, angle: float) -> tuple[Image, Image]:
        """Compute coordinates around a point, along and across the direction `angle` (radians from +x to +y)."""
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = self.x_yx - np.float32(x0), self.y_yx - np.float32(y0)
        return cosine * dx + sine * dy, cosine * dy - sine * dx

    def to_pixels(self, x: Vector, y: Vector) -> tuple[Vector, Vector]:
        """Convert scene positions to fractional rows and columns; 0 is the centre of the first pixel."""
        cosine, sine = np.cos(np.deg2rad(self.angle_deg)), np.sin(np.deg2rad(self.angle_deg))
        # This is the inverse of the rotation in `scene_view`.
        dx, dy = (x - self.centre_xy[0]) / self.pixel_size, (y - self.centre_xy[1]) / self.pixel_size
        rows = -sine * dx + cosine * dy + (self.shape[0] - 1) / 2
        return rows, cosine * dx + sine * dy + (self.shape[1] - 1) / 2

    def add_points(self, image_yx: Image, x: Vector, y: Vector, flux: Vector) -> None:
        """Add point sources in place, each spread bilinearly over four pixels; drop sources outside the frame."""
        rows, columns = self.to_pixels(np.asarray(x), np.asarray(y))
        row0, column0 = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
        # All four nearest pixels must lie in the frame.
        inside = (row0 >= 0) & (column0 >= 0) & (row0 < self.shape[0] - 1) & (column0 < self.shape[1] - 1)
        row0, column0 = row0[inside], column0[inside]
        row_fraction, column_fraction = rows[inside] - row0, columns[inside] - column0
        flux_inside, flat = np.asarray(flux)[inside], image_yx.reshape(-1)
        for down, row_weight in ((0, 1 - row_fraction), (1, row_fraction)):
            for right, column_weight in ((0, 1 - column_fraction), (1, column_fraction)):
                place, weight = (row0 + down) * self.shape[1] + column0 + right, row_weight * column_weight
                # `np.add.at` is needed because several points may fall on the same pixel.
                np.add.at(flat, place, (flux_inside * weight).astype(np.float32))

    def cutout(self, x0: float, y0: float, half_size: float) -> tuple[tuple[slice, slice], View] | None:
        """Cut out a square of the frame around a point; None if the whole square lies outside the frame."""
        rows, columns = self.to_pixels(np.asarray(x0), np.asarray(y0))
        half_px = half_size / self.pixel_size + 1  # Half the side in pixels, rounded up.
        top, bottom = max(0, int(rows - half_px)), min(self.shape[0], int(rows + half_px) + 1)
        left, right = max(0, int(columns - half_px)), min(self.shape[1], int(columns + half_px) + 1)
        if top >= bottom or left >= right:
            return None
        slices = (slice(top, bottom), slice(left, right))
        return slices, replace(self, x_yx=self.x_yx[slices], y_yx=self.y_yx[slices])

    def fractal_noise(
        self,
        rng: np.random.Generator,
        slope: float,
        period: float,
        stretch: float = 1.0,
        coordinates: tuple[Image, Image] | None = None,
    ) -> Image:
        """Evaluate fractal noise, whose power spectrum falls as k^-slope, at each pixel.

        The mean of the noise is 0 and its standard deviation is 1. The noise depends only on the scene coordinates, so
        every frame of a scene shows the same structure.
        """
        # The number and order of the random numbers must not depend on the frame; see `ObjectRenderer`.
        tile = fractal_tile(int(rng.integers(6)), slope)
        direction, shift_x, shift_y = rng.uniform(0, 2 * np.pi), *rng.uniform(0, TEXTURE_PX, 2)
        x_yx, y_yx = coordinates or (self.x_yx, self.y_yx)
        direction = 0.0 if coordinates else direction
        cosine, sine = np.float32(np.cos(direction)), np.float32(np.sin(direction))
        px_per_unit = np.float32(TEXTURE_PX / period)
        u = (cosine * x_yx + sine * y_yx) * (px_per_unit / np.float32(stretch)) + np.float32(shift_x)
        v = (cosine * y_yx - sine * x_yx) * px_per_unit + np.float32(shift_y)
        return _sample_bilinear(tile, v, u)


class ObjectRenderer(Protocol):
    """Function that draws one kind of object, without noise and without the effects of the optics.

    The random numbers that the function uses must not depend on the view. Otherwise two frames of one scene would show
    different objects.
    """

    def __call__(self, view: View, rng: np.random.Generator, variant: str, /) -> Image:
        """Draw the object with its centre at scene position (0, 0).

        Parameters
        ----------
        view
            Pixel grid in scene coordinates, and the filter.
        rng
            Random generator of the scene; it starts in the same state for every frame of the scene.
        variant
            Subtype of the object, one of the `variants` of its kind.

        Returns
        -------
        Image
            Surface brightness in units of the noise of a typical combined exposure, shape (y, x) of the view.

        """


def _sample_bilinear(tile: Image, rows: Image, columns: Image) -> Image:
    """Interpolate a periodic tile bilinearly at fractional positions."""
    row0, column0 = np.floor(rows), np.floor(columns)
    row_fraction, column_fraction = rows - row0, columns - column0
    # AND with this mask gives the index modulo TEXTURE_PX, even for a negative index.
    mask = TEXTURE_PX - 1
    r0, c0 = row0.astype(np.int32) & mask, column0.astype(np.int32) & mask
    r1, c1 = (r0 + 1) & mask, (c0 + 1) & mask
    # Indexing a flat array is faster than indexing with two arrays.
    flat = tile.reshape(-1)
    r0 *= TEXTURE_PX
    r1 *= TEXTURE_PX
    above = flat[r0 + c0] * (1 - column_fraction) + flat[r0 + c1] * column_fraction
    below = flat[r1 + c0] * (1 - column_fraction) + flat[r1 + c1] * column_fraction
    return np.asarray(above + (below - above) * row_fraction, np.float32)


@lru_cache(maxsize=96)
def fractal_tile(number: int, slope: float) -> Image:
    """Make a periodic tile of fractal noise (fractional Brownian motion) with mean 0 and standard deviation 1.

    The tile is white noise, multiplied by the amplitude k^(-slope/2) in Fourier space.
    """
    rng = np.random.Generator(np.random.PCG64(9000 + number))
    noise = scipy.fft.rfft2(rng.standard_normal((TEXTURE_PX, TEXTURE_PX), dtype=np.float32), workers=1)
    ky, kx = np.fft.fftfreq(TEXTURE_PX)[:, None], np.fft.rfftfreq(TEXTURE_PX)[None, :]
    k = np.hypot(ky, kx)
    k[0, 0] = np.inf  # This removes the mean and avoids a division by zero.
    field = scipy.fft.irfft2(noise * k ** (-slope / 2), s=(TEXTURE_PX, TEXTURE_PX), workers=1)
    return np.asarray((field - field.mean()) / field.std(), np.float32)
