"""Rendered files: exact size, valid FITS, each camera's keywords, a correct WCS, and the label that they are
simulated.
"""

import io
import re
from functools import cache

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from hubbleclip.simulator.observations import (
    SimObservation,
    SimProduct,
    SkySettings,
    make_proposals,
    observations_of,
    render_product,
)

SETTINGS = SkySettings(num_proposals=120, frame_px=96)
Item = tuple[SimObservation, SimProduct]


@pytest.fixture(scope="module")
def items() -> dict[tuple[str, str], Item]:
    """One file of each (camera, kind of file), of a long exposure."""
    found: dict[tuple[str, str], Item] = {}
    for proposal in make_proposals(SETTINGS):
        for observation in observations_of(SETTINGS, proposal):
            for product in observation.products:
                if not proposal.is_calibration and observation.exposure_s > 800:
                    found.setdefault((observation.instrument, product.kind), (observation, product))
    return found


@cache
def rendered(*item: SimObservation | SimProduct) -> bytes:
    return render_product(SETTINGS, *item)


def open_fits(item: Item) -> fits.HDUList:
    return fits.open(io.BytesIO(rendered(*item)))


def test_every_kind_of_file_has_its_listed_size(items: dict[tuple[str, str], Item]) -> None:
    assert {kind for _, kind in items} >= {"DRC", "DRZ", "DRW", "FLC", "FLT", "C0M", "RAW", "D0M", "SPT", "SHM", "JPG"}
    for observation, product in items.values():
        assert len(rendered(observation, product)) == product.size_bytes


@pytest.mark.filterwarnings("error")
def test_files_are_standard_fits_and_labelled_as_simulated(items: dict[tuple[str, str], Item]) -> None:
    for (_, kind), item in items.items():
        if kind != "JPG":
            with open_fits(item) as file:
                file.verify("exception")
                assert file[0].header["ORIGIN"] == "SIMULATED"
                assert "not the sky" in str(file[0].header["COMMENT"])
                assert "SIMULATED" in str(file[0].header["HISTORY"])
                assert all(unit.data is not None for unit in file[1:])


def test_the_wcs_agrees_with_the_listed_position_and_footprint(items: dict[tuple[str, str], Item]) -> None:
    for camera, kind in (("WFC3/UVIS", "DRC"), ("ACS/WFC", "DRC"), ("WFPC2/WFC", "DRW"), ("WFC3/IR", "DRZ")):
        observation, product = items[camera, kind]
        with open_fits((observation, product)) as file:
            wcs, shape, inside = WCS(file["SCI"].header), file["SCI"].data.shape, file["WHT"].data > 0
        ra_deg, dec_deg = wcs.wcs_pix2world((shape[1] - 1) / 2, (shape[0] - 1) / 2, 0)
        assert float(ra_deg) == pytest.approx(observation.ra_deg, abs=1e-7)
        assert float(dec_deg) == pytest.approx(observation.dec_deg, abs=1e-7)
        corners = np.array([float(word) for word in re.findall(r"-?\d+\.\d+", observation.footprint)]).reshape(-1, 2)
        x, y = wcs.wcs_world2pix(corners[:, 0], corners[:, 1], 0)
        rows, columns = np.nonzero(inside)
        assert x.min() == pytest.approx(columns.min(), abs=1.5)
        assert y.max() == pytest.approx(rows.max(), abs=1.5)


def test_the_wcs_is_continuous_across_both_chips(items: dict[tuple[str, str], Item]) -> None:
    with open_fits(items["ACS/WFC", "FLC"]) as file:
        lower, upper = WCS(file["SCI", 1].header), WCS(file["SCI", 2].header)
        rows = file["SCI", 1].data.shape[0]
    gap_px = 2
    a = lower.wcs_pix2world(10, rows + gap_px * max(1, 96 // 120), 0)
    b = upper.wcs_pix2world(10, 0, 0)
    assert np.allclose(a, b, atol=1e-8)


def test_bad_pixels_and_cosmic_rays_are_flagged(items: dict[tuple[str, str], Item]) -> None:
    with open_fits(items["WFC3/UVIS", "FLC"]) as file:
        flags = file["DQ", 1].data
        science, error = file["SCI", 1].data, file["ERR", 1].data
    assert (flags & 4).any()
    assert (flags & 4096).any()
    hit = (flags & 4096) > 0
    assert np.median(science[hit] / error[hit]) > 5
