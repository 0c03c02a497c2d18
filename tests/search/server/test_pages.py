"""The pages as HTML: state in the URL, what each says, partial updates."""

import gzip
import io
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from search_site import IDS
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient
from web_search import client_of, service_of, soup

from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search import sky
from hubbleclip.search.engine import Occlusion, Search
from hubbleclip.search.server.search_service import params_of

URLS = (
    "q=spiral+galaxy%5E2&not=dust&like=abc&mode=model&group=none&k=12&page=3",
    "instrument=WFC3%2FUVIS&instrument=ACS%2FWFC&cycle=12&observed_from=2009-05-24&exposure_s_min=0.5&moving=true&place=M+31&radius=3",
    "box=350%2C10%2C-5%2C5&split=test",
    "exposure_s_min=1234567.5&exposure_s_max=100000000&pixel_scale_arcsec_max=0.1&sort=random&seed=7&page=50&k=200",
    "",
)


@pytest.mark.parametrize("text", URLS)
def test_a_url_is_the_state_of_a_search(text: str) -> None:
    params = params_of(QueryParams(text))
    assert parse_qs(urlsplit(params.url(page=params.page)).query) == parse_qs(text)
    assert params_of(QueryParams(urlsplit(params.url(page=params.page)).query)) == params


def test_sesame_is_asked_for_the_place_of_a_tiles_search(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sky, "ask_sesame", asked.append)
    search = Search(Layout(site.root), is_asked_ahead=True)
    with client_of(service_of(search)) as client:
        assert client.get(f"/tiles/{IDS[0]}?place=Elsewhere").status_code == 200
    assert asked == ["Elsewhere"]


def test_one_occlusion_map_at_a_time_leaves_room_for_searches(
    client: TestClient, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, occlusion, meanwhile = f"/tiles/{IDS[0]}/occlusion?q=galaxy", search.occlusion, []

    def asking_more(tile_id: str, text: str) -> Occlusion:
        meanwhile.extend(client.get(other).status_code for other in (url, "/?q=galaxy"))
        return occlusion(tile_id, text)

    monkeypatch.setattr(search, "occlusion", asking_more)
    assert [client.get(url).status_code for _ in range(2)] == [200, 200]
    assert meanwhile == [503, 200] * 2


def test_the_simulated_sky_is_named(client: TestClient) -> None:
    for url in ("/", f"/tiles/{IDS[0]}", "/sky", "/map"):
        page = soup(client, url)
        assert "Simulated sky" in page.select_one(".banner").text
        assert "small-model" in page.select_one("footer").text
    assert "MAST does not have it" in soup(client, f"/tiles/{IDS[0]}").text


def test_an_uploaded_picture_is_searched_with_and_shown(client: TestClient, search: Search, png: bytes) -> None:
    location = client.post("/", files={"picture": png}).headers["location"]
    page = soup(client, location)
    assert client.get(page.select_one(".asked")["src"]).content == png
    first = soup(client, location + "&mode=model").select_one(".tile a")["href"]
    assert urlsplit(first).path == f"/tiles/{IDS[31]}"
    assert soup(client, first).select_one("[rel=next]")
    named = soup(client, location + "&q=galaxy+F814W")
    assert "filter F814W" in named.select_one(".chips").text
    assert client.get(named.select_one(".asked")["src"]).content == png
    assert soup(client, "/?image=" + "0" * 32, 400).select_one(".fault")
    content = io.BytesIO()
    fits.PrimaryHDU(np.ones((4, 4), np.float32)).writeto(content)
    for file in (content.getvalue(), gzip.compress(content.getvalue())):
        query = urlsplit(client.post("/", files={"picture": file}).headers["location"]).query
        assert client.get(f"/uploads/{parse_qs(query)['image'][0]}").status_code == 404
