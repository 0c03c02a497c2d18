"""The all-sky map is equal-area, has every tile once, and its coverage is read by mocpy."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from mocpy import MOC
from starlette.testclient import TestClient

from hubbleclip.search.engine import Search
from hubbleclip.search.server.pages.sky_map import SCALE, draw_sky, hammer, write_moc


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


def test_no_tile_at_all_is_an_empty_map() -> None:
    assert draw_sky(np.empty(0), np.empty(0)).cells == []


def test_the_coverage_contains_every_tile(client: TestClient, search: Search, tmp_path: Path) -> None:
    content = client.get("/moc.fits").content
    assert content == write_moc(*search.positions())
    (tmp_path / "moc.fits").write_bytes(content)
    moc = MOC.load(tmp_path / "moc.fits", format="fits")
    ra_deg, dec_deg = search.positions()
    assert moc.contains_lonlat(ra_deg * u.deg, dec_deg * u.deg).all()
    assert not moc.contains_lonlat([200.0] * u.deg, [-5.0] * u.deg).any()


def test_the_marks_are_the_best_hits_whatever_the_page(client: TestClient) -> None:
    first, later = (client.get(f"/sky?q=galaxy&group=none&k=1&page={page}").text for page in (1, 10_000))
    assert first.count('class="mark"') == later.count('class="mark"') == 48


@pytest.mark.parametrize("query", ["", "q=galaxy&filter=F606W&exposure_s_max=300", "q=comet&mode=words"])
def test_each_cell_of_a_search_leads_to_as_many_tiles_as_it_states(query: str, client: TestClient) -> None:
    page = client.get(f"/sky?{query}").text
    cells = re.findall(r'<a href="(/\?[^"]+box=[^"]+)" aria-label="(\d+) tile', page)
    assert len(cells) >= 2
    for link, num in cells:
        found = client.get("/api/v1/search" + link[1:].replace("&amp;", "&")).json()
        assert found["num_admitted"] == int(num)
    whole = client.get(f"/api/v1/search?{query}").json()
    assert sum(int(num) for _, num in cells) == whole["num_admitted"]
    assert ('class="mark"' in page) == ("q=" in query)
