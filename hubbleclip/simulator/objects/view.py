"""What an object's drawing sees: a grid of scene coordinates, a filter, and brushes for points and fractal noise.

Scene coordinates: x to the west, y to the north,
in units of half the field for which the scene was made. Brightness: in units of
the noise of a pixel in a typical combined exposure, so that 5 is plainly visible and 1 is not.
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
TEXTURE_PX = 512
LINE_LEAK = 0.35
WHITE_NM = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One frame onto a scene. `pixel` is its size in scene units; `epoch` tells apart views of a moving target."""

    x_yx: Image
    y_yx: Image
    pixel: float
    angle_deg: float
    centre_xy: tuple[float, float]
    wave_nm: float
    line: str
    epoch: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the frame."""
        return self.x_yx.shape[0], self.x_yx.shape[1]

    def blank(self) -> Image:
        """An empty image."""
        return np.zeros(self.shape, np.float32)

    def tint(self, colour: float) -> float:
        """Relative flux in this filter of a colour: 0 white, 1 red as an old galaxy, -1 blue as hot stars."""
        continuum = float(np.clip((self.wave_nm / WHITE_NM) ** (1.5 * colour), 0.08, 8.0))
        return continuum * (0.3 if self.line else 1.0)

    def glow(self, **lines: float) -> float:
        """Relative flux in this filter of gas with these lines (HA, OIII, ...); a broad filter sees a part."""
        if self.line:
            return lines.get(self.line, 0.4)
        return LINE_LEAK * (lines.get("HA", 1.0) if self.wave_nm > 560 else lines.get("OIII", 0.6))

    def polar(self, x0: float, y0: float, axis_ratio: float = 1.0, angle: float = 0.0) -> tuple[Image, Image]:
        """Elliptical radius, and azimuth (radians) in the ellipse's plane, about a point; `angle`: the major axis."""
        u, v = self.axes(x0, y0, angle)
        v /= np.float32(axis_ratio)
        return np.hypot(u, v), np.arctan2(v, u)

    def radius(self, x0: float, y0: float, axis_ratio: float = 1.0, angle: float = 0.0) -> Image:
        """Elliptical radius alone, which is cheaper than `polar`."""
        u, v = self.axes(x0, y0, angle)
        return np.asarray(np.hypot(u, v / np.float32(axis_ratio)), np.float32)

    def axes(self, x0: float, y0: float, angle: float) -> tuple[Image, Image]:
        """Coordinates along and across a direction (radians), from a point."""
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = self.x_yx - np.float32(x0), self.y_yx - np.float32(y0)
        return cosine * dx + sine * dy, cosine * dy - sine * dx

    def pixels_of(self, x: Vector, y: Vector) -> tuple[Vector, Vector]:
        """(row, column) of scene positions."""
        cosine, sine = np.cos(np.deg2rad(self.angle_deg)), np.sin(np.deg2rad(self.angle_deg))
        dx, dy = (x - self.centre_xy[0]) / self.pixel, (y - self.centre_xy[1]) / self.pixel
        rows = -sine * dx + cosine * dy + (self.shape[0] - 1) / 2
        return rows, cosine * dx + sine * dy + (self.shape[1] - 1) / 2

    def add_points(self, image_yx: Image, x: Vector, y: Vector, flux: Vector) -> None:
        """Add point sources of these fluxes, shared among the four nearest pixels."""
        rows, columns = self.pixels_of(np.asarray(x), np.asarray(y))
        row0, column0 = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
        inside = (row0 >= 0) & (column0 >= 0) & (row0 < self.shape[0] - 1) & (column0 < self.shape[1] - 1)
        row0, column0 = row0[inside], column0[inside]
        down, right, kept = rows[inside] - row0, columns[inside] - column0, np.asarray(flux)[inside]
        flat = image_yx.reshape(-1)
        for step, share in ((0, (1 - down) * (1 - right)), (1, (1 - down) * right)):
            np.add.at(flat, row0 * self.shape[1] + column0 + step, (kept * share).astype(np.float32))
        for step, share in ((0, down * (1 - right)), (1, down * right)):
            np.add.at(flat, (row0 + 1) * self.shape[1] + column0 + step, (kept * share).astype(np.float32))

    def stamp(self, x0: float, y0: float, reach: float) -> tuple[tuple[slice, slice], View] | None:
        """The part of the frame within `reach` of a point, as slices and a view of it; None where that lies outside."""
        rows, columns = self.pixels_of(np.asarray(x0), np.asarray(y0))
        side = reach / self.pixel + 1
        top, bottom = max(0, int(rows - side)), min(self.shape[0], int(rows + side) + 1)
        left, right = max(0, int(columns - side)), min(self.shape[1], int(columns + side) + 1)
        if top >= bottom or left >= right:
            return None
        part = (slice(top, bottom), slice(left, right))
        return part, View(
            x_yx=self.x_yx[part], y_yx=self.y_yx[part], pixel=self.pixel, angle_deg=self.angle_deg,
            centre_xy=self.centre_xy,
            wave_nm=self.wave_nm, line=self.line, epoch=self.epoch,
        )  # fmt: skip

    def texture(
        self,
        rng: np.random.Generator,
        slope: float,
        scale: float,
        stretch: float = 1.0,
        at: tuple[Image, Image] | None = None,
    ) -> Image:
        """Fractal noise, mean 0 and deviation 1, whose power falls as k^-slope; its period is `scale` scene units.

        `stretch` draws it out along a random direction; `at` gives other coordinates than the frame's own.
        """
        tile = fractal_tile(int(rng.integers(6)), slope)
        turn, shift_x, shift_y = rng.uniform(0, 2 * np.pi), *rng.uniform(0, TEXTURE_PX, 2)
        x_yx, y_yx = at if at is not None else (self.x_yx, self.y_yx)
        cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        if at is not None:
            cosine, sine = np.float32(1), np.float32(0)
        unit = np.float32(TEXTURE_PX / scale)
        u = (cosine * x_yx + sine * y_yx) * (unit / np.float32(stretch)) + np.float32(shift_x)
        v = (cosine * y_yx - sine * x_yx) * unit + np.float32(shift_y)
        return _sampled(tile, v, u)


def _sampled(tile: Image, rows: Image, columns: Image) -> Image:
    """Bilinear samples of a periodic tile."""
    row0, column0 = np.floor(rows), np.floor(columns)
    down, right = rows - row0, columns - column0
    mask = TEXTURE_PX - 1
    r0, c0 = row0.astype(np.int32) & mask, column0.astype(np.int32) & mask
    r1, c1 = (r0 + 1) & mask, (c0 + 1) & mask
    flat = tile.reshape(-1)
    r0 *= TEXTURE_PX
    r1 *= TEXTURE_PX
    above = flat[r0 + c0] * (1 - right) + flat[r0 + c1] * right
    below = flat[r1 + c0] * (1 - right) + flat[r1 + c1] * right
    return np.asarray(above + (below - above) * down, np.float32)


@lru_cache(maxsize=24)
def fractal_tile(number: int, slope: float) -> Image:
    """A periodic fractal (fBm) field of TEXTURE_PX pixels a side: white noise with amplitude k^(-slope/2)."""
    rng = np.random.Generator(np.random.PCG64(9000 + number))
    noise = scipy.fft.rfft2(rng.standard_normal((TEXTURE_PX, TEXTURE_PX), dtype=np.float32), workers=1)
    ky, kx = np.fft.fftfreq(TEXTURE_PX)[:, None], np.fft.rfftfreq(TEXTURE_PX)[None, :]
    k = np.hypot(ky, kx)
    k[0, 0] = np.inf
    field = scipy.fft.irfft2(noise * k ** (-slope / 2), s=(TEXTURE_PX, TEXTURE_PX), workers=1)
    return np.asarray((field - field.mean()) / field.std(), np.float32)
