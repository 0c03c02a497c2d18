"""The pages as HTML: state in the URL, what each says, partial updates."""

import csv
import io
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from bs4 import BeautifulSoup
from search_site import IDS
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient
from web_search import client_of, service_of, soup

from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search import sky
from hubbleclip.search.engine import NUM_SQUARES, Occlusion, Search
from hubbleclip.search.params import ParameterError, SearchParams
from hubbleclip.search.records import Mode
from hubbleclip.search.server.pages.routes import day, exposure, object_class
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
        ("observed_from=2011-01-01&observed_to=2010-01-01", "no tile can fit"),
    ):
        with pytest.raises(ParameterError, match=fault):
            params_of(QueryParams(query))


def test_the_forms_long_address_is_shortened_and_names_of_others_do_no_harm(client: TestClient) -> None:
    page = soup(client, "/?q=galaxy&utm_source=mail&instrumnet=WFC3&place=")
    assert [note.text for note in page.select(".note")] == [
        "instrumnet is ignored: there is no such parameter: do you mean `instrument`?"
    ]
    response = client.get("/?q=galaxy&not=&mode=both&group=proposal&place=&radius=6&moving=")
    assert (response.status_code, response.headers["location"]) == (303, "/?q=galaxy")


def test_the_empty_page_offers_examples_and_tiles(client: TestClient) -> None:
    page = soup(client, "/")
    examples = page.select(".examples a")
    assert len(examples) == 8
    assert soup(client, examples[0]["href"]).select_one("#q")["value"] == examples[0].text
    assert len(page.select(".tile")) == 8
    assert all(image["alt"] for image in page.select("img"))


def test_a_tile_in_the_grid_says_what_it_is(client: TestClient) -> None:
    first = soup(client, "/?q=spiral+galaxy").select_one(".tile")
    text = " ".join(first.text.split())
    parts = ("NGC-1", "spiral galaxy, bright", "model ", "words ", "+5 of this programme")
    assert [part for part in parts if part not in text] == []
    more = soup(client, first.select_one(".folded")["href"])
    assert len(more.select(".tile")) == 6


def test_each_filter_with_a_list_has_its_values_on_the_page_and_keeps_those_that_no_tile_has(
    client: TestClient, search: Search
) -> None:
    page = soup(client, "/")
    for name, values in search.facets().items():
        assert [box["value"] for box in page.select(f"input[name={name}]")] == [str(value) for value, _ in values]
    page = soup(client, "/?q=survey&instrument=ACS&instrument=WFC3/IR&filter=f814w&cycle=99")
    kept = [(one["name"], one["value"]) for one in page.select("details.filters input[type=hidden]")]
    assert {("instrument", "ACS"), ("filter", "f814w"), ("cycle", "99")} <= set(kept)
    assert ("instrument", "WFC3/IR") not in kept


def test_a_page_counts_leads_to_others_and_exports_the_hits_of_all(client: TestClient) -> None:
    page = soup(client, "/?q=galaxy&filter=F606W&k=5&page=2&group=none")
    assert "6–10 of 24" in " ".join(page.select_one(".count").text.split())
    assert [parse_qs(urlsplit(a["href"]).query).get("page") for a in page.select(".pager a")] == [None, ["3"]]
    assert page.select_one("ol.grid")["start"] == "6"
    exports = {link.text: link["href"] for link in page.select("#results [download]")}
    assert list(exports) == ["CSV", "VOTable", "ECSV", "Parquet", "Parquet with pictures"]
    assert exports["Parquet with pictures"] == "/api/v1/search?q=galaxy&group=none&k=1000&filter=F606W&format=images"
    shown = [link["href"].partition("?")[0].rpartition("/")[2] for link in page.select(".tile .picture")]
    rows = csv.DictReader(io.StringIO(client.get(exports["CSV"]).text))
    tile_ids = [row["tile_id"] for row in rows]
    assert len(tile_ids) == 24
    assert tile_ids[5:10] == shown


def test_a_tile_is_added_to_a_search_or_pushed_away(client: TestClient, search: Search) -> None:
    page = soup(client, "/?q=galaxy&filter=F606W&group=none")
    wanted, unwanted = (page.select_one(f".tile .{name}")["href"] for name in ("like", "unlike"))
    tile_id = parse_qs(urlsplit(wanted).query)["like"][0]
    rest = {"q": ["galaxy"], "filter": ["F606W"], "group": ["none"]}
    assert parse_qs(urlsplit(wanted).query) == rest | {"like": [tile_id]}
    assert parse_qs(urlsplit(unwanted).query)["unlike"] == [tile_id]
    own = soup(client, wanted).select_one(f".tile:has(.picture[href^='/tiles/{tile_id}'])")
    assert not own.select(".like, .unlike")


def test_a_hit_passes_the_text_of_the_search_to_its_page(client: TestClient) -> None:
    links = [link["href"] for link in soup(client, "/?q=spiral+galaxy%5E2&not=dust").select(".tile .picture")]
    assert parse_qs(urlsplit(links[1]).query) == {"q": ["spiral galaxy^2"], "not": ["dust"]}
    page = soup(client, links[1])
    assert page.select_one(".occlude input")["value"] == "spiral galaxy"
    assert [link["href"] for link in page.select("[rel=prev], [rel=next]")] == [links[0], links[2]]
    assert not soup(client, links[0]).select("[rel=prev]")
    assert not soup(client, f"/tiles/{IDS[0]}").select("[rel=next]")


def test_a_search_without_a_reload_has_its_address_and_what_was_understood(client: TestClient) -> None:
    response = client.get("/?q=ngc103+F814W+dust&place=&mode=words", headers={"hx-request": "true"})
    assert response.status_code == 200
    assert response.headers["hx-push-url"] == "/?q=dust&mode=words&place=ngc103&filter=F814W"
    page = BeautifulSoup(response.text, "html.parser")
    assert page.select_one("#q")["value"] == "dust"
    chips = [" ".join(chip.text.split()) for chip in page.select(".chips a")]
    assert chips == ["dust×: remove", "near ngc103 within 6′×: remove", "filter F814W×: remove"]
    assert soup(client, "/?q=sipral", **{"hx-request": "true"}).select_one(".note a")["href"] == "/?q=spiral"
    assert soup(client, "/?place=nowhere", 400, **{"hx-request": "true"}).select_one("#results .fault")
    assert soup(client, "/?k=x", 422, **{"hx-request": "true"}).select_one("#main .fault")


def test_a_proposed_text_keeps_its_weight_and_the_other_texts(client: TestClient) -> None:
    link = soup(client, "/?q=sipral+galaxy+disk&q=sipral+galaxy^2").select(".note a")[1]
    texts = parse_qs(urlsplit(link["href"]).query)["q"]
    assert (link.text, texts) == ("spiral galaxy", ["sipral galaxy disk", "spiral galaxy^2"])


def test_no_hit_and_a_fault_are_said_plainly(client: TestClient) -> None:
    assert "No tile fits this search" in " ".join(
        soup(client, "/?exposure_s_min=1e9").select_one(".count").text.split()
    )
    page = soup(client, "/?place=nowhere+at+all", 400)
    assert soup(client, "/nothing", 404).select_one(".fault").text == "there is no page at this address"
    assert "the catalog has no target" in page.select_one(".fault").text
    assert page.select_one("[name=place]")["value"] == "nowhere at all"


def test_a_tile_page_has_what_an_astronomer_needs(client: TestClient, search: Search) -> None:
    page = soup(client, f"/tiles/{IDS[9]}")
    assert page.select_one(".occlude input")["value"] == search.phrases(IDS[9])["objects"][0][0]
    text = " ".join(page.text.split())
    facts = search.tile(IDS[9]).facts
    named = [facts[name] for name in ("title", "target_name", "instrument", "filter")]
    assert [
        word
        for word in (*named, "Dr. P1 Nova", "cycle 21", "We observe", "400 s", "2017-09-05", f"{facts['dec_deg']:+.6f}")
        if word not in text
    ] == []
    links = {a.text.strip(): a.get("href") for a in page.select("a")}
    assert links["More like this"] == f"/?like={IDS[9]}"
    assert links["Like its abstract"] == "/?abstract_of=hst%3A1"
    assert {"Aladin Lite ↗", "ESASky ↗"} <= links.keys()
    assert page.select_one(".compass") and page.select_one("#bar")
    assert soup(client, links["Its neighbours"]).select(".tile")
    assert soup(client, links["Its programme"]).select(".tile")
    region = client.get(f"/tiles/{IDS[9][:9]}/footprint.reg")
    assert region.text.startswith("# Region")
    assert region.headers["content-disposition"] == f'attachment; filename="{IDS[9]}.reg"'


@pytest.mark.parametrize("query", ["image=" + "0" * 32, "selection=lost", "sort=distance"])
def test_a_search_that_is_no_longer_possible_leaves_the_page_of_a_tile(
    query: str, client: TestClient, search: Search
) -> None:
    page = soup(client, f"/tiles/{IDS[9]}?{query}")
    assert page.select_one(".occlude input")["value"] == search.phrases(IDS[9])["objects"][0][0]


def test_sesame_is_asked_for_the_place_of_a_tiles_search(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sky, "ask_sesame", asked.append)
    search = Search(Layout(site.root), is_asked_ahead=True)
    with client_of(service_of(search)) as client:
        assert client.get(f"/tiles/{IDS[0]}?place=Elsewhere").status_code == 200
    assert asked == ["Elsewhere"]


def test_an_occlusion_map_has_a_square_for_each_that_was_covered(client: TestClient, search: Search) -> None:
    tile_id, text = IDS[9], "globular cluster"
    assert not soup(client, f"/tiles/{tile_id}?q=globular+cluster").select("#overlay rect")  # only on demand
    partial = soup(client, f"/tiles/{tile_id}/occlusion?q=globular+cluster", **{"hx-request": "true"})
    expected = search.occlusion(tile_id, text)
    squares = partial.select("#overlay[hx-swap-oob=innerHTML] rect")
    shown = np.array([float(one["fill-opacity"]) * (1 if one["class"] == ["up"] else -1) for one in squares])
    drop_n = expected.drop_yx.ravel()
    assert shown == pytest.approx(0.7 * drop_n / np.abs(drop_n).max(), abs=0.006)
    assert [(one["x"], one["y"]) for one in squares[:8]] == [
        (str(n % NUM_SQUARES), str(n // NUM_SQUARES)) for n in range(8)
    ]
    said = " ".join(partial.text.split())
    assert f"Similarity to “{text}”: {expected.similarity:.3f}" in said
    row, column = np.unravel_index(drop_n.argmax(), expected.drop_yx.shape)
    assert f"by up to {drop_n.max():.3f} in row {row + 1}, column {column + 1} of {NUM_SQUARES}" in said


def test_an_occlusion_map_needs_a_text_and_a_tile(client: TestClient, search: Search) -> None:
    partial = {"hx-request": "true"}
    assert "needs a text" in soup(client, f"/tiles/{IDS[0]}/occlusion", 422, **partial).select_one(".fault").text
    assert "There is no tile" in soup(client, "/tiles/x/occlusion?q=a", 404, **partial).select_one(".fault").text
    assert soup(client, "/tiles/x/occlusion?q=a", 404).select_one("header")


def test_facts_are_written_with_units() -> None:
    assert [exposure(value) for value in (0.35, 9.999, 1234.4, None, float("nan"))] == [
        "0.35 s",
        "10 s",
        "1,234 s",
        "",
        "",
    ]
    assert [day(value) for value in (datetime(2009, 5, 24, 23, 59), None)] == ["2009-05-24", ""]
    classes = ("SIMULATED;SPIRAL GALAXY;BRIGHT", "GALAXY; ;Edge-On", None)
    assert [object_class(value) for value in classes] == ["spiral galaxy, bright (simulated)", "galaxy, edge-on", ""]


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


def test_the_simulated_sky_is_named_and_the_real_one_has_its_archive(client: TestClient, site: Settings) -> None:
    for url in ("/", f"/tiles/{IDS[0]}", "/sky", "/map"):
        page = soup(client, url)
        assert "Simulated sky" in page.select_one(".banner").text
        assert "tiny" in page.select_one("footer").text
    assert "MAST does not have it" in soup(client, f"/tiles/{IDS[0]}").text
    real = service_of(Search(Layout(site.root), asks_sesame=False))
    with client_of(real) as other:
        page = soup(other, f"/tiles/{IDS[0]}")
        assert not page.select(".banner")
        assert "Observation at MAST ↗" in {a.text for a in page.select("a")}
        assert "astroquery.mast" in page.select_one("pre").text
        assert "NASA" in page.select_one("footer").text


def test_an_uploaded_picture_is_searched_with_and_shown(client: TestClient, search: Search, png: bytes) -> None:
    location = client.post("/", files={"picture": png}).headers["location"]
    page = soup(client, location)
    assert client.get(page.select_one(".asked")["src"]).content == png
    first = soup(client, location + "&mode=model").select_one(".tile a")["href"]
    assert urlsplit(first).path == f"/tiles/{IDS[0]}"
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
