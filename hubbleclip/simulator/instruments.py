"""Cameras and filters of the simulated telescopes. Their values are rounded from the STScI instrument handbooks."""

from __future__ import annotations

from dataclasses import dataclass


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

    For HST, `obs_id_letter` is the first letter of the names of the camera's observations; for JWST, it is the name of
    the detector. `gain` is in electrons per count; `read_noise_e` and `full_well_e` are in electrons. `sky_e_s` is the
    background in electrons per second per pixel through a broad-band filter near the central wavelength of the camera.
    `footprint` is the shape of the detector: `one_chip`, `two_chips` or `stair` (the L shape of the WFPC2 mosaic).
    `fills_with_nan` says whether drizzled pixels without data are NaN; otherwise they are 0. The camera is in use in
    the observing cycles from `first_cycle` to `last_cycle`. `sibling` is the name of a camera with a similar field of
    view. `has_pupil` says whether the camera has a pupil wheel.
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


def _bands(text: str) -> tuple[Filter, ...]:
    """Parse filters from text that has one line `name wave_nm width_nm photflam [line]` per filter."""
    rows = (line.split() for line in text.strip().splitlines())
    return tuple(
        Filter(
            name=row[0], wave_nm=float(row[1]), width_nm=float(row[2]), photflam=float(row[3]), line="".join(row[4:])
        )
        for row in rows
    )


# Columns: name, central wavelength (nm), width (nm), PHOTFLAM, emission line.
UVIS_BANDS = _bands("""
F275W 271 40 3.19e-18
F336W 335 51 1.29e-18
F438W 433 62 6.74e-19
F555W 531 156 1.86e-19
F606W 589 219 1.18e-19
F814W 804 154 1.51e-19
F467M 468 20 1.66e-18
F763M 761 70 3.37e-19
F845M 844 79 4.50e-19
F502N 501 6.5 5.30e-18 OIII
F656N 656 1.8 1.70e-17 HA
F658N 658 2.8 1.00e-17 NII
F673N 677 11.8 2.20e-18 SII
""")
IR_BANDS = _bands("""
F105W 1055 265 3.04e-20
F110W 1153 443 1.53e-20
F125W 1249 285 2.25e-20
F140W 1392 384 1.47e-20
F160W 1537 268 1.93e-20
F128N 1283 16 3.60e-19 PAB
F164N 1645 17 2.90e-19 FEII
""")
ACS_BANDS = _bands("""
F435W 433 69 3.11e-19
F475W 475 106 1.82e-19
F555W 536 85 1.96e-19
F606W 592 158 7.80e-20
F775W 769 102 1.00e-19
F814W 806 154 7.07e-20
F850LP 904 127 1.51e-19
F550M 558 38 3.90e-19
F502N 502 5.7 5.30e-18 OIII
F658N 658 8.7 1.98e-18 HA
""")
WFPC2_BANDS = _bands("""
F300W 299 74 6.14e-17
F450W 456 95 9.02e-18
F555W 544 123 3.48e-18
F606W 600 150 1.90e-18
F675W 672 87 2.90e-18
F814W 801 153 2.51e-18
F502N 501 2.7 3.00e-16 OIII
F656N 656 2.2 1.46e-16 HA
F658N 659 2.9 1.04e-16 NII
F673N 673 4.7 5.80e-17 SII
""")

NIRCAM_SHORT_BANDS = _bands("""
F090W 901 194 1.0e-20
F115W 1154 225 1.0e-20
F150W 1501 318 1.0e-20
F200W 1990 461 1.0e-20
F187N 1874 24 1.0e-20 PAA
""")
NIRCAM_LONG_BANDS = _bands("""
F277W 2786 672 1.0e-20
F356W 3563 787 1.0e-20
F444W 4421 1024 1.0e-20
F335M 3365 347 1.0e-20
""")
MIRI_BANDS = _bands("""
F770W 7639 1950 1.0e-20
F1000W 9953 1800 1.0e-20
F1500W 15064 2920 1.0e-20
F560W 5635 1000 1.0e-20
""")

CAMERAS: dict[str, Camera] = {
    camera.name: camera
    for camera in (
        Camera(
            name="WFC3/UVIS",
            instrument="WFC3",
            detector="UVIS",
            obs_id_letter="i",
            pixel_scale_arcsec=0.04,
            gain=1.5,
            read_noise_e=3.1,
            full_well_e=72_000,
            sky_e_s=0.06,
            psf_fwhm_px=1.9,
            footprint="two_chips",
            fills_with_nan=True,
            first_cycle=17,
            last_cycle=99,
            sibling="ACS/WFC",
            filters=UVIS_BANDS,
        ),
        Camera(
            name="WFC3/IR",
            instrument="WFC3",
            detector="IR",
            obs_id_letter="i",
            pixel_scale_arcsec=0.128,
            gain=2.5,
            read_noise_e=12.0,
            full_well_e=78_000,
            sky_e_s=0.9,
            psf_fwhm_px=1.25,
            footprint="one_chip",
            fills_with_nan=True,
            first_cycle=17,
            last_cycle=99,
            sibling="WFPC2/WFC",
            filters=IR_BANDS,
        ),
        Camera(
            name="ACS/WFC",
            instrument="ACS",
            detector="WFC",
            obs_id_letter="j",
            pixel_scale_arcsec=0.05,
            gain=2.0,
            read_noise_e=4.2,
            full_well_e=84_700,
            sky_e_s=0.09,
            psf_fwhm_px=2.1,
            footprint="two_chips",
            fills_with_nan=False,
            first_cycle=11,
            last_cycle=99,
            sibling="WFC3/UVIS",
            filters=ACS_BANDS,
        ),
        Camera(
            name="WFPC2/WFC",
            instrument="WFPC2",
            detector="WFC",
            obs_id_letter="u",
            pixel_scale_arcsec=0.1,
            gain=7.0,
            read_noise_e=5.2,
            full_well_e=53_000,
            sky_e_s=0.05,
            psf_fwhm_px=1.5,
            footprint="stair",
            fills_with_nan=False,
            first_cycle=1,
            last_cycle=16,
            sibling="WFC3/IR",
            filters=WFPC2_BANDS,
        ),
        # For JWST, `detector="IR"` means an infrared array instead of a CCD; `obs_id_letter` names the detector.
        Camera(
            name="NIRCAM/SHORT",
            instrument="NIRCAM",
            detector="IR",
            obs_id_letter="nrca1",
            pixel_scale_arcsec=0.031,
            gain=2.0,
            read_noise_e=12.0,
            full_well_e=105_000,
            sky_e_s=0.3,
            psf_fwhm_px=1.6,
            footprint="one_chip",
            fills_with_nan=True,
            first_cycle=1,
            last_cycle=99,
            sibling="NIRCAM/LONG",
            filters=NIRCAM_SHORT_BANDS,
            mission="jwst",
            has_pupil=True,
        ),
        Camera(
            name="NIRCAM/LONG",
            instrument="NIRCAM",
            detector="IR",
            obs_id_letter="nrcalong",
            pixel_scale_arcsec=0.063,
            gain=1.8,
            read_noise_e=12.0,
            full_well_e=83_000,
            sky_e_s=0.6,
            psf_fwhm_px=1.5,
            footprint="one_chip",
            fills_with_nan=True,
            first_cycle=1,
            last_cycle=99,
            sibling="NIRCAM/SHORT",
            filters=NIRCAM_LONG_BANDS,
            mission="jwst",
            has_pupil=True,
        ),
        Camera(
            name="MIRI",
            instrument="MIRI",
            detector="IR",
            obs_id_letter="mirimage",
            pixel_scale_arcsec=0.11,
            gain=4.0,
            read_noise_e=14.0,
            full_well_e=190_000,
            sky_e_s=8.0,
            psf_fwhm_px=1.3,
            footprint="one_chip",
            fills_with_nan=True,
            first_cycle=1,
            last_cycle=99,
            sibling="NIRCAM/LONG",
            filters=MIRI_BANDS,
            mission="jwst",
        ),
    )
}


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
