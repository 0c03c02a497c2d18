"""The pages as HTML: state in the URL, what each says, partial updates."""

import io
from datetime import datetime
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
from hubbleclip.search.params import ParameterError, SearchParams
from hubbleclip.search.records import Mode
from hubbleclip.search.server.pages.routes import day, exposure
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


def test_another_search_begins_at_its_first_page() -> None:
    params = SearchParams(q=["a"], page=4, k=10)
    assert params.url(mode=Mode.WORDS) == "/?q=a&mode=words&k=10"
    assert {name: url for name, _, url in params.removals()} == {"q": "/?k=10"}
    nearest = SearchParams(place="M51", sort="distance", cycle=[20])
    assert [url for _, _, url in nearest.removals()] == ["/?cycle=20", "/?sort=distance&place=M51"]
    assert [url for *_, url in SearchParams(place="M51", radius=2, q=["a"]).removals()] == [
        "/?radius=2&place=M51",
        "/?q=a",
    ]
    assert params.offset == 30


def test_a_form_field_that_is_blank_counts_as_absent() -> None:
    assert params_of(QueryParams("q=a&exposure_s_min=&place=&cycle=&moving=")).pairs() == [("q", "a")]
    for query, fault in (
        ("k=many", "k:"),
        ("exposure_s_min=2&exposure_s_max=1", "exposure_s_min 2 is above the upper limit 1"),
        ("pixel_scale_arcsec_min=2&pixel_scale_arcsec_max=1", "no tile can fit"),
        ("observed_from=2011-01-01&observed_to=2010-01-01", "no tile can fit"),
    ):
        with pytest.raises(ParameterError, match=fault):
            params_of(QueryParams(query))


def test_sesame_is_asked_for_the_place_of_a_tiles_search(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sky, "ask_sesame", asked.append)
    search = Search(Layout(site.root), is_asked_ahead=True)
    with client_of(service_of(search)) as client:
        assert client.get(f"/tiles/{IDS[0]}?place=Elsewhere").status_code == 200
    assert asked == ["Elsewhere"]


def test_what_is_at_a_limit_is_accepted_and_a_seed_without_its_order_is_dropped() -> None:
    limits: list[dict] = [
        {"k": 5, "page": 2000},
        {"q": ["a" * 4000] * 15 + ["b^-100"], "seed": 2**31},
        {"filter": ["F606W"] * 100, "radius": 10_800},
        {"exposure_s_min": 2, "exposure_s_max": 2, "observed_from": "2009-05-24", "observed_to": "2009-05-24"},
        {"box": "0,360,-90,90", "cycle": [0, 10_000], "pi": "a" * 200},
    ]
    assert [SearchParams(**one).pairs()[-1] for one in limits] == [
        ("page", "2000"),
        ("q", "b^-100"),
        ("filter", "F606W"),
        ("exposure_s_max", "2"),
        ("box", "0,360,-90,90"),
    ]
    for one in ({"k": 5, "page": 2001}, {"q": ["a"] * 17}, {"q": ["b^-100.1"]}, {"filter": ["F606W"] * 101}):
        with pytest.raises(ValueError, match="hits|terms|weight|values"):
            SearchParams(**one)


def test_facts_are_written_with_units() -> None:
    assert [exposure(value) for value in (0.35, 9.999, 1234.4, None, float("nan"))] == [
        "0.35 s",
        "10 s",
        "1,234 s",
        "",
        "",
    ]
    assert [day(value) for value in (datetime(2009, 5, 24, 23, 59), None)] == ["2009-05-24", ""]


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
        assert "tiny" in page.select_one("footer").text
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
    (digest,) = parse_qs(urlsplit(client.post("/", files={"picture": content.getvalue()}).headers["location"]).query)[
        "image"
    ]
    assert client.get(f"/uploads/{digest}").status_code == 404
