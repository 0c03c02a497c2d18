"""Cameras and filters of the simulated telescopes. Their values are rounded from the STScI instrument handbooks."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Filter of a camera.

    `wave_nm` is the central wavelength and `width_nm` the width of the passband. `photflam` is the inverse sensitivity
    in erg / (cm^2 Angstrom electron). `line` is the emission line that a narrow-band filter isolates; it is empty for a
    broad-band filter.
    """

    name: str
    wave_nm: float
    width_nm: float
    photflam: float
    line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Camera of a simulated telescope.

    `obs_id_letter` is the first letter of observation names for HST, and the detector's name for JWST. `gain` is in
    electrons per count. `read_noise_e` and `full_well_e` are in electrons. `sky_e_s` is the background in electrons per
    second per pixel, through a broad-band filter near the central wavelength of the camera. `footprint` is the shape of
    the detector: `one_chip`, `two_chips` or `stair` (the L shape of the WFPC2 mosaic). `fills_with_nan` says whether
    drizzled pixels without data are NaN; otherwise they are 0. `first_cycle` and `last_cycle` are the first and last
    observing cycles that use the camera. `sibling` is the name of a camera with a similar field of view. `has_pupil`
    says whether the camera has a pupil wheel.
    """

    name: str
    instrument: str
    detector: str
    obs_id_letter: str
    pixel_scale_arcsec: float
    gain: float
    read_noise_e: float
    full_well_e: float
    sky_e_s: float
    psf_fwhm_px: float
    footprint: str
    fills_with_nan: bool
    first_cycle: int
    last_cycle: int
    sibling: str
    filters: tuple[Filter, ...]
    mission: str = "hst"
    has_pupil: bool = False

    def filter(self, name: str) -> Filter:
        """Look up a filter by name."""
        return {band.name: band for band in self.filters}[name]


def _filter(name: str, wave_nm: float, width_nm: float, photflam: float, line: str = "") -> Filter:
    """Make a filter from a row of `instruments.toml`, in which wavelengths and widths may be integers."""
    return Filter(name=name, wave_nm=float(wave_nm), width_nm=float(width_nm), photflam=photflam, line=line)


def _camera(name: str, values: dict[str, Any]) -> Camera:
    """Make a camera from a table of `instruments.toml`."""
    return Camera(**values | {"name": name, "filters": tuple(_filter(*row) for row in values["filters"])})


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
CAMERAS = {name: _camera(name, values) for name, values in _TABLES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Simulated observing cycles of a mission. A cycle lasts one year.

    `first_cycle` is the number of the first cycle and `first_mjd` is its start date. `num_cycles` is the number of
    cycles.
    """

    first_cycle: int
    first_mjd: float
    num_cycles: int


SCHEDULES = {
    "hst": Schedule(first_cycle=12, first_mjd=52820.0, num_cycles=20),
    "jwst": Schedule(first_cycle=1, first_mjd=59774.0, num_cycles=3),
}
