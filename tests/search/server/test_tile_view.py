"""What pages compute: positions, north, scale bar, region, links, and the all-sky map with its coverage."""

import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from mocpy import MOC
from search_site import IDS, SCALE_ARCSEC, SIZE_PX, fits_header, geometry_at
from starlette.testclient import TestClient

from hubbleclip.missions.links import archive_links
from hubbleclip.search.engine import Search
from hubbleclip.search.server.pages import tile_view
from hubbleclip.search.server.pages.sky_map import SCALE, draw_sky, hammer, write_moc
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


def test_the_download_command_is_one_word_of_python_whatever_the_name_and_none_of_a_simulated_file() -> None:
    real = {"proposal_id": "hst:10003", "obs_id": "j8xi0x010", "product_uri": "mast:HST/product/j8xi0x010_drz.fits"}
    words = shlex.split(tile_view.download_command(real))
    assert words[:2] == ["python", "-c"]
    assert len(words) == 3
    compile(words[2], "command", "exec")
    for uri in ("mast:x'; rm -rf /", 'mast:x")', "mast:x\n", "mast:$(id)", "mast:a b", None):
        assert tile_view.download_command(real | {"product_uri": uri}) is None
    assert archive_links(real | {"proposal_id": "simulated:1"}) == []
    assert tile_view.download_command(real | {"proposal_id": "simulated:1"}) is None


def test_other_filters_are_those_of_the_nearest_tiles_that_reach_the_centre(search: Search) -> None:
    facts = search.tile(IDS[14]).facts | {"is_moving": False}
    # the next tile is 20 arcsec away
    assert tile_view.other_filters(search, facts | {"pixel_scale_arcsec": 39 / SIZE_PX}) == {}
    near = facts | {"pixel_scale_arcsec": 41 / SIZE_PX}
    assert list(tile_view.other_filters(search, near)) == ["F814W;CLEAR2L"]
    for north_arcsec, nearest in ((1, IDS[15]), (-1, IDS[13])):
        moved = {"pixel_scale_arcsec": 50 / SIZE_PX, "dec_deg": facts["dec_deg"] + north_arcsec / 3600}
        assert tile_view.other_filters(search, facts | moved) == {"F814W;CLEAR2L": nearest}
    for change in ({"is_moving": True}, {"ra_deg": None}, {"pixel_scale_arcsec": None}):
        assert tile_view.other_filters(search, near | change) == {}


def test_east_is_left_north_is_up_and_areas_are_true() -> None:
    x, y = hammer([0, 90, 270, 0, 0], [0, 0, 0, 45, -45])
    assert (x[0], y[0]) == (0, 0)
    assert x[1] < 0 < x[2]
    assert y[3] < 0 < y[4]

    def area(ra: float, dec: float) -> float:
        """Area of a patch of a square degree, from the Jacobian by differences."""
        step = 1e-3
        (x0, x1, x2), (y0, y1, y2) = hammer([ra, ra + step, ra], [dec, dec, dec + step])
        return abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) / step**2 / np.cos(np.radians(dec))

    expected = (SCALE * np.pi / 180) ** 2
    assert [area(ra, dec) for ra, dec in ((0, 0), (120, 50), (200, -70), (300, 20))] == pytest.approx(
        [expected] * 4, rel=1e-3
    )


@pytest.mark.parametrize("ra", [179.9, 180.1, 0.0, 359.9])
@pytest.mark.parametrize("dec", [-89.9, 0.0, 89.9])
def test_outlines_stay_in_one_piece_also_at_the_edge(ra: float, dec: float) -> None:
    (cell,) = draw_sky(np.array([ra]), np.array([dec])).cells
    xs = [float(number) for number in re.findall(r"[ML](-?[\d.]+),", cell.path)]
    assert max(xs) - min(xs) < SCALE / 2


def test_lines_go_through_known_places_and_shades_grow_with_the_number_of_tiles() -> None:
    drawn = draw_sky(np.repeat([10.0, 100.0, np.nan], [1, 50, 3]), np.repeat([-80.0, 40.0, 5.0], [1, 50, 3]))
    assert [(cell.num_tiles, cell.shade) for cell in drawn.cells] == [(1, 2), (50, 6)]
    assert drawn.num_placed == 51
    for lines, num, places in (
        (drawn.galactic, 2, [(266.405, -28.936), (86.405, 28.936)]),
        (drawn.ecliptic, 2, [(90, 23.439)]),
        (drawn.grid, 18, [(210, 60), (330, 20), (77, -60)]),
    ):
        assert len(lines) == num
        parts = [np.array([point.split(",") for point in re.findall("[ML]([^ML]+)", line)], float) for line in lines]
        assert max(np.linalg.norm(np.diff(part_n2, axis=0), axis=1).max() for part_n2 in parts) < SCALE / 5
        for place in places:
            assert np.linalg.norm(np.concatenate(parts) - hammer(*place), axis=1).min() < SCALE / 20
    assert draw_sky(np.empty(0), np.empty(0)).cells == []


def test_the_coverage_contains_every_tile(client: TestClient, search: Search, tmp_path: Path) -> None:
    content = client.get("/moc.fits").content
    ra_deg, dec_deg = search.positions()
    assert content == write_moc(np.append(ra_deg, np.nan), np.append(dec_deg, np.nan))
    (tmp_path / "moc.fits").write_bytes(content)
    moc = MOC.load(tmp_path / "moc.fits", format="fits")
    assert moc.max_order == 11  # cells of 1.7 arcmin
    assert moc.contains_lonlat(ra_deg * u.deg, dec_deg * u.deg).all()
    assert not moc.contains_lonlat([200.0] * u.deg, [-5.0] * u.deg).any()


@pytest.mark.parametrize("query", ["", "q=F606W", "q=galaxy&filter=F606W&exposure_s_max=300", "q=comet&mode=words"])
def test_each_cell_of_a_search_leads_to_as_many_tiles_as_it_states(query: str, client: TestClient) -> None:
    page = client.get(f"/sky?{query}").text
    cells = re.findall(r'<a href="(/\?[^"]+box=[^"]+)" aria-label="(\d+) tile', page)
    assert len(cells) >= 2
    for link, num in cells:
        found = client.get("/api/v1/search" + link[1:].replace("&amp;", "&")).json()
        assert found["num_admitted"] == int(num)
    whole = client.get(f"/api/v1/search?{query}").json()
    assert sum(int(num) for _, num in cells) == whole["num_admitted"]
    assert ('class="mark"' in page) == ("q=galaxy" in query or "q=comet" in query)
