"""What a tile's page computes: positions, north, scale bar, links, region."""

import math
import shlex
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from search_site import IDS, SCALE_ARCSEC, SIZE_PX, fits_header, geometry_at

from hubbleclip.missions.links import archive_links, sky_links
from hubbleclip.search.engine import Search
from hubbleclip.search.server.pages import tile_view
from hubbleclip.search.server.pages.tile_view import NUM_GRID, sky_view


@pytest.mark.parametrize("rotation_deg", [0.0, 30.0, 135.0, -80.0])
@pytest.mark.parametrize("dec_deg", [0.0, -89.5, 62.0])
def test_the_grid_has_the_positions_of_the_tiles_corners_and_centre(dec_deg: float, rotation_deg: float) -> None:
    """`corners_deg` begins at the picture's first row and column; the text of the WCS counts rows upwards."""
    geometry = geometry_at(150.0, dec_deg, rotation_deg)
    # A picture is stored with the last row of its header first, so a stored row y is the header's row size - 1 - y.
    view = sky_view(geometry.wcs, SIZE_PX)
    grid = np.array(view.grid).reshape(NUM_GRID, NUM_GRID, 2)
    header = WCS(fits_header(geometry.wcs))
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1), (8, 8)):
        y, x = (row % NUM_GRID) / 16 * SIZE_PX, (column % NUM_GRID) / 16 * SIZE_PX
        expected = header.pixel_to_world(x - 0.5, SIZE_PX - 0.5 - y).icrs
        found = SkyCoord(*grid[row, column], unit="deg")
        assert found.separation(expected).arcsec < 1e-3


@pytest.mark.parametrize("rotation_deg", [0.0, 30.0, 200.0])
def test_north_and_east_point_where_the_sky_does(rotation_deg: float) -> None:
    geometry = geometry_at(80.0, 40.0, rotation_deg)
    view, header = sky_view(geometry.wcs, SIZE_PX), WCS(fits_header(geometry.wcs))
    centre = header.pixel_to_world(SIZE_PX / 2 - 0.5, SIZE_PX / 2 - 0.5).icrs
    for angle, direction in ((0, view.compass.north_xy), (90, view.compass.east_xy)):
        x, y = header.world_to_pixel(centre.directional_offset_by(angle * units.deg, 0.5 * units.arcsec))
        step = np.array([x - (SIZE_PX / 2 - 0.5), -(y - (SIZE_PX / 2 - 0.5))])
        assert np.allclose(step / np.linalg.norm(step), direction, atol=1e-3)


def test_the_scale_bar_is_round_and_has_its_length() -> None:
    view = sky_view(geometry_at(10.0, 60.0, 20.0).wcs, SIZE_PX)
    assert view.compass.bar_label == "0.5″"
    assert math.isclose(view.compass.bar_share * SIZE_PX * SCALE_ARCSEC, 0.5, rel_tol=1e-4)


@pytest.mark.parametrize("text", ["", "nonsense", "CTYPE1  = 'RA---TAN'", "CRVAL1  = 'x'"])
def test_a_bad_wcs_is_no_view(text: str) -> None:
    assert sky_view(text, SIZE_PX) is None


def real(**changes: object) -> dict:
    return {
        "proposal_id": "hst:10003",
        "obs_id": "j8xi0x010",
        "product_uri": "mast:HST/product/j8xi0x010_drz.fits",
        "ra_deg": 83.82,
        "dec_deg": -5.39,
        "pixel_scale_arcsec": 0.05,
        "size_px": 224,
    } | changes


def test_links_lead_to_the_observation_the_programme_and_the_file() -> None:
    observation, programme, file = archive_links(real())
    assert parse_qs(urlsplit(observation.url).query) == {"mission": ["hst"], "dataid": ["J8XI0X010"]}
    assert programme.url == "https://www.stsci.edu/hst-program-info/program/?program=10003"
    assert parse_qs(urlsplit(file.url).query) == {"uri": ["mast:HST/product/j8xi0x010_drz.fits"]}
    assert {urlsplit(link.url).scheme for link in archive_links(real()) + sky_links(real())} == {"https"}
    assert "83.820000%20-5.390000" in sky_links(real())[0].url.replace("%2B", "+")


def test_a_simulated_tile_has_no_links_to_the_archive() -> None:
    assert archive_links(real(proposal_id="simulated:1")) == []
    assert tile_view.download_command(real(proposal_id="simulated:1")) is None
    assert sky_links(real(ra_deg=None)) == []


def test_the_download_command_is_one_word_of_python_whatever_the_name() -> None:
    words = shlex.split(tile_view.download_command(real()))
    assert words[:2] == ["python", "-c"]
    assert len(words) == 3
    compile(words[2], "command", "exec")
    for uri in ("mast:x'; rm -rf /", 'mast:x")', "mast:x\n", "mast:$(id)", "mast:a b", None):
        assert tile_view.download_command(real(product_uri=uri)) is None


def test_the_footprint_is_a_ds9_polygon(search: Search) -> None:
    tile_id = IDS[3]
    facts = search.tile(tile_id).facts
    lines = tile_view.ds9_region(tile_id, facts).splitlines()
    assert lines[:2] == ["# Region file format: DS9 version 4.1", "icrs"]
    numbers = [float(part) for part in lines[2].partition("(")[2].partition(")")[0].split(",")]
    assert numbers == pytest.approx(facts["corners_deg"], abs=1e-7)
    corners = SkyCoord(numbers[::2], numbers[1::2], unit="deg")
    sides = [corners[a].separation(corners[b]).arcsec for a, b in pairwise((0, 1, 2, 3, 0))]
    assert sides == pytest.approx([SIZE_PX * SCALE_ARCSEC] * 4, rel=1e-3)
    assert tile_view.ds9_region(tile_id, {"corners_deg": []}) is None
