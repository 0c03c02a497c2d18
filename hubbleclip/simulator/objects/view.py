"""The frame that a renderer draws in: a grid of scene coordinates and a filter, with points and fractal noise.

Scene coordinates: x to the west, y to the north, in units of half the field for which the scene was made.
Surface brightness: in units of the noise of one pixel in a typical combined exposure, so that 5 is plainly visible
and 1 is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

Image = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
# A power of two, so that a bit mask wraps an index.
TEXTURE_PX = 512
LINE_LEAK = 0.35  # Flux of an emission line in a broad filter, relative to its own narrow filter.
WHITE_NM = 600.0  # Wavelength at which all colours have flux 1.


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One frame of a scene, through one filter.

    `x_yx` and `y_yx` are the scene coordinates of each pixel, `pixel_size` its side in scene units, `angle_deg` the
    roll of the frame and `centre_xy` the scene position of its centre. `wave_nm` is the filter's central wavelength,
    `line` the emission line that a narrow filter isolates (empty for a broad one). `epoch` identifies the observation,
    for what changes between observations of a moving target.
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
        """Shape of the frame: (rows, columns)."""
        return self.x_yx.shape[0], self.x_yx.shape[1]

    def blank_image(self) -> Image:
        """Make an image of zeros.

        Returns
        -------
        Image
            Zeros, shape (y, x) of the frame.

        """
        return np.zeros(self.shape, np.float32)

    def continuum_flux(self, colour: float) -> float:
        """Compute the relative flux in this filter of a continuum source.

        Parameters
        ----------
        colour
            Spectral slope: 0 white, 1 red as an old galaxy, -1 blue as hot stars.

        Returns
        -------
        float
            Flux relative to a white source in a broad filter, 0.08 to 8 for a broad filter.

        """
        continuum = float(np.clip((self.wave_nm / WHITE_NM) ** (1.5 * colour), 0.08, 8.0))
        return continuum * (0.3 if self.line else 1.0)  # A narrow filter passes little continuum.

    def line_flux(self, **lines: float) -> float:
        """Compute the relative flux in this filter of gas that emits these lines.

        Parameters
        ----------
        **lines
            Strength by name of the line (HA, OIII, NII, SII, PAB, FEII).

        Returns
        -------
        float
            Strength of the filter's line; a broad filter sees LINE_LEAK of the line in its range.

        """
        if self.line:
            return lines.get(self.line, 0.4)  # 0.4: a weak line that the caller does not list.
        # Broad filters redward of 560 nm contain H-alpha, those blueward [O III].
        return LINE_LEAK * (lines.get("HA", 1.0) if self.wave_nm > 560 else lines.get("OIII", 0.6))

    def polar_coordinates(
        self, x0: float, y0: float, axis_ratio: float = 1.0, angle: float = 0.0
    ) -> tuple[Image, Image]:
        """Compute elliptical polar coordinates about a point.

        Parameters
        ----------
        x0, y0
            Centre, in scene units.
        axis_ratio
            Minor over major axis, above 0, at most 1.
        angle
            Direction of the major axis, in radians.

        Returns
        -------
        radius_yx, azimuth_yx : Image
            Radius along the major axis in scene units, and azimuth in the ellipse's plane in radians, shape (y, x)
            each.

        """
        u, v = self.rotated_coordinates(x0, y0, angle)
        v /= np.float32(axis_ratio)
        return np.hypot(u, v), np.arctan2(v, u)

    def elliptical_radius(self, x0: float, y0: float, axis_ratio: float = 1.0, angle: float = 0.0) -> Image:
        """Compute the elliptical radius alone, which is cheaper than `polar_coordinates`.

        Parameters
        ----------
        x0, y0
            Centre, in scene units.
        axis_ratio
            Minor over major axis, above 0, at most 1.
        angle
            Direction of the major axis, in radians.

        Returns
        -------
        Image
            Radius in scene units, shape (y, x).

        """
        u, v = self.rotated_coordinates(x0, y0, angle)
        return np.asarray(np.hypot(u, v / np.float32(axis_ratio)), np.float32)

    def rotated_coordinates(self, x0: float, y0: float, angle: float) -> tuple[Image, Image]:
        """Compute coordinates along and across a direction.

        Parameters
        ----------
        x0, y0
            Origin, in scene units.
        angle
            Direction of the first axis, in radians from +x towards +y.

        Returns
        -------
        along_yx, across_yx : Image
            Coordinates in scene units, shape (y, x) each.

        """
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = self.x_yx - np.float32(x0), self.y_yx - np.float32(y0)
        return cosine * dx + sine * dy, cosine * dy - sine * dx

    def to_pixels(self, x: Vector, y: Vector) -> tuple[Vector, Vector]:
        """Convert scene positions to pixel positions.

        Parameters
        ----------
        x, y
            Positions in scene units, shape (n,) or scalar arrays.

        Returns
        -------
        rows, columns : Vector
            Fractional pixel positions, 0 at the centre of the first pixel.

        """
        cosine, sine = np.cos(np.deg2rad(self.angle_deg)), np.sin(np.deg2rad(self.angle_deg))
        # Inverse of the rotation in scene_view.
        dx, dy = (x - self.centre_xy[0]) / self.pixel_size, (y - self.centre_xy[1]) / self.pixel_size
        rows = -sine * dx + cosine * dy + (self.shape[0] - 1) / 2
        return rows, cosine * dx + sine * dy + (self.shape[1] - 1) / 2

    def add_points(self, image_yx: Image, x: Vector, y: Vector, flux: Vector) -> None:
        """Add point sources; the flux of each is shared bilinearly among the four nearest pixels.

        Parameters
        ----------
        image_yx
            Contiguous image to add to in place, shape (y, x).
        x, y
            Positions in scene units, shape (n,). Those outside the frame are ignored.
        flux
            Total fluxes in noise units, shape (n,).

        """
        rows, columns = self.to_pixels(np.asarray(x), np.asarray(y))
        row0, column0 = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
        # All four neighbours must exist.
        inside = (row0 >= 0) & (column0 >= 0) & (row0 < self.shape[0] - 1) & (column0 < self.shape[1] - 1)
        row0, column0 = row0[inside], column0[inside]
        row_fraction, column_fraction, flux_inside = (
            rows[inside] - row0,
            columns[inside] - column0,
            np.asarray(flux)[inside],
        )
        flat = image_yx.reshape(-1)
        for step, weight in (
            (0, (1 - row_fraction) * (1 - column_fraction)),
            (1, (1 - row_fraction) * column_fraction),
        ):
            # np.add.at, because several points may fall on one pixel.
            np.add.at(flat, row0 * self.shape[1] + column0 + step, (flux_inside * weight).astype(np.float32))
        for step, weight in ((0, row_fraction * (1 - column_fraction)), (1, row_fraction * column_fraction)):
            np.add.at(flat, (row0 + 1) * self.shape[1] + column0 + step, (flux_inside * weight).astype(np.float32))

    def cutout(self, x0: float, y0: float, half_size: float) -> tuple[tuple[slice, slice], View] | None:
        """Cut out the square part of the frame around a point.

        Parameters
        ----------
        x0, y0
            Centre, in scene units.
        half_size
            Half of the square's side, in scene units.

        Returns
        -------
        tuple[tuple[slice, slice], View] | None
            (row, column) slices and the view of that part; None where it lies outside the frame.

        """
        rows, columns = self.to_pixels(np.asarray(x0), np.asarray(y0))
        half_px = half_size / self.pixel_size + 1  # In pixels, rounded up.
        top, bottom = max(0, int(rows - half_px)), min(self.shape[0], int(rows + half_px) + 1)
        left, right = max(0, int(columns - half_px)), min(self.shape[1], int(columns + half_px) + 1)
        if top >= bottom or left >= right:
            return None
        slices = (slice(top, bottom), slice(left, right))
        return slices, View(
            x_yx=self.x_yx[slices], y_yx=self.y_yx[slices], pixel_size=self.pixel_size, angle_deg=self.angle_deg,
            centre_xy=self.centre_xy,
            wave_nm=self.wave_nm, line=self.line, epoch=self.epoch,
        )  # fmt: skip

    def fractal_noise(
        self,
        rng: np.random.Generator,
        slope: float,
        period: float,
        stretch: float = 1.0,
        coordinates: tuple[Image, Image] | None = None,
    ) -> Image:
        """Sample fractal noise of mean 0 and standard deviation 1, whose power falls as k^-slope.

        The noise depends on scene coordinates alone, so every frame of a scene shows the same structure.

        Parameters
        ----------
        rng
            Generator of the scene; chooses the tile, its rotation and its shift.
        slope
            Slope of the power spectrum; larger is smoother.
        period
            Period of the noise, in scene units.
        stretch
            Elongation along a random direction.
        coordinates
            (x_yx, y_yx) to sample at instead of the frame's own; they are not rotated.

        Returns
        -------
        Image
            Noise, shape of the coordinates.

        """
        # Draw in a fixed order and number, whatever the frame: see `register_object`.
        tile = fractal_tile(int(rng.integers(6)), slope)
        direction, shift_x, shift_y = rng.uniform(0, 2 * np.pi), *rng.uniform(0, TEXTURE_PX, 2)
        x_yx, y_yx = coordinates if coordinates is not None else (self.x_yx, self.y_yx)
        cosine, sine = np.float32(np.cos(direction)), np.float32(np.sin(direction))
        if coordinates is not None:
            cosine, sine = np.float32(1), np.float32(0)
        px_per_unit = np.float32(TEXTURE_PX / period)
        u = (cosine * x_yx + sine * y_yx) * (px_per_unit / np.float32(stretch)) + np.float32(shift_x)
        v = (cosine * y_yx - sine * x_yx) * px_per_unit + np.float32(shift_y)
        return _sample_bilinear(tile, v, u)


def _sample_bilinear(tile: Image, rows: Image, columns: Image) -> Image:
    """Interpolate a periodic tile bilinearly at fractional positions."""
    row0, column0 = np.floor(rows), np.floor(columns)
    row_fraction, column_fraction = rows - row0, columns - column0
    # AND with the mask is modulo TEXTURE_PX, also for negative indices.
    mask = TEXTURE_PX - 1
    r0, c0 = row0.astype(np.int32) & mask, column0.astype(np.int32) & mask
    r1, c1 = (r0 + 1) & mask, (c0 + 1) & mask
    # Flat indices are faster than pairs of index arrays.
    flat = tile.reshape(-1)
    r0 *= TEXTURE_PX
    r1 *= TEXTURE_PX
    above = flat[r0 + c0] * (1 - column_fraction) + flat[r0 + c1] * column_fraction
    below = flat[r1 + c0] * (1 - column_fraction) + flat[r1 + c1] * column_fraction
    return np.asarray(above + (below - above) * row_fraction, np.float32)


@lru_cache(maxsize=24)
def fractal_tile(number: int, slope: float) -> Image:
    """Make a periodic fractal (fractional Brownian motion) field of mean 0 and standard deviation 1.

    Parameters
    ----------
    number
        Number of the tile, which seeds its noise; the same for every simulator seed.
    slope
        Slope of the power spectrum.

    Returns
    -------
    Image
        Field, shape (TEXTURE_PX, TEXTURE_PX).

    Notes
    -----
    White noise filtered in Fourier space with the amplitude k^(-slope/2).

    """
    rng = np.random.Generator(np.random.PCG64(9000 + number))
    noise = scipy.fft.rfft2(rng.standard_normal((TEXTURE_PX, TEXTURE_PX), dtype=np.float32), workers=1)
    ky, kx = np.fft.fftfreq(TEXTURE_PX)[:, None], np.fft.rfftfreq(TEXTURE_PX)[None, :]
    k = np.hypot(ky, kx)
    k[0, 0] = np.inf  # Removes the mean without a division by zero.
    field = scipy.fft.irfft2(noise * k ** (-slope / 2), s=(TEXTURE_PX, TEXTURE_PX), workers=1)
    return np.asarray((field - field.mean()) / field.std(), np.float32)
