"""What a search finds: by text, tile, picture and proposal; by model and words; filtered, grouped, in pages."""

import base64
import io
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from astropy.io import fits
from PIL import Image
from search_site import NUM_PROPOSALS, NUM_TILES, TILES_EACH, add_tiles, settings_of, sky_of, tile_id_of

from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.config.settings import Settings, TileSettings
from hubbleclip.core.errors import CatalogError, HubbleclipError, SearchError
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.index import index
from hubbleclip.search import open_index
from hubbleclip.search.embedding import QueryModel
from hubbleclip.search.engine import Search
from hubbleclip.search.params import ParameterError, SearchParams
from hubbleclip.search.records import Cone, Mode


def ids(search: Search, **params: object) -> list[str]:
    return [hit.tile_id for hit in search.run(SearchParams(**params)).hits]


def every(search: Search, **params: object) -> list[str]:
    return ids(search, k=NUM_TILES, group="none", **params)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_picture_of_a_tile_finds_the_tile(search: Search, site: Settings, tmp_path: Path, form: str) -> None:
    picture, content = tmp_path / "upload^2", io.BytesIO()  # the content decides, not the name
    with Image.open(Layout(site.root).tile(tile_id_of(5, 1))) as tile:
        tile.save(content, form, quality=95)
    picture.write_bytes(content.getvalue())
    found = search.image(picture, k=2, proposal="5")
    assert (found["tile_id"][0], list(found["proposal_id"])) == (tile_id_of(5, 1), ["hst:5"] * 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text", "no readable"),
        (b"\x89PNG\r\n\x1a\nbroken", "no readable"),
        (b"SIMPLE  = garbage", "gives no tile: truncated"),
        (b"\x1f\x8b", "gives no tile: truncated"),
        (fits.PrimaryHDU().header.tostring().encode(), "gives no tile: no_image"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(
    search: Search, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(content)
    with pytest.raises(SearchError, match=words) as error:
        ids(search, image=str(path))
    assert "\n" not in str(error.value)


def test_a_file_that_takes_too_much_memory_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubbleclip.search.embedding._pictures", Mock(side_effect=MemoryError))
    with pytest.raises(SearchError, match="large.fits needs more memory"):
        QueryModel(Path("run")).embed_file(Path("large.fits"), TileSettings())


def test_a_group_shows_its_best_tile_and_counts_the_others(search: Search) -> None:
    found = {
        group: search.run(SearchParams(q="galaxy", mode="model", k=100, group=group)).hits
        for group in ("none", "proposal", "sky")
    }
    best: dict[str, str] = {}
    for hit in found["none"]:
        best.setdefault(hit.facts["proposal_id"], hit.tile_id)
    assert [hit.tile_id for hit in found["proposal"]] == list(best.values())
    assert [hit.num_folded for hit in found["proposal"]] == [TILES_EACH - 1] * NUM_PROPOSALS
    assert sum(hit.num_folded + 1 for hit in found["sky"]) == NUM_TILES
    assert NUM_PROPOSALS <= len(found["sky"]) < NUM_TILES  # proposals are far apart, the tiles of one lie side by side


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"like": "f" * 32}, "no indexed tile begins with"),
        ({"abstract_of": "99"}, "no proposal 99"),
        ({"image": "a"}, "a is no readable"),
        ({"q": "galaxy", "not": "galaxy", "mode": "model"}, "cancel"),
        ({"like": tile_id_of(1, 1), "mode": "words"}, "needs a text"),
        ({"place": "0 1 181"}, "0 to 180 degrees"),
        ({"place": "0 1 -1"}, "0 to 180 degrees"),
    ],
)
def test_an_impossible_search_is_one_clear_line(search: Search, params: dict, words: str) -> None:
    with pytest.raises(SearchError, match=words):
        ids(search, **params)


def test_texts_from_outside_are_values_and_never_sql(search: Search) -> None:
    for text in ("'; DROP TABLE tile_fact; --", "%' OR 1=1", '"', "\0"):
        ids(search, q=text)
        assert every(search, pi=text, proposal=text, filter=text) == []
    assert search.num_tiles == NUM_TILES


def test_an_id_may_be_shortened_and_a_text_be_in_quotes(search: Search) -> None:
    assert every(search, like=tile_id_of(3, 2)[:9]) == every(search, like=tile_id_of(3, 2))
    assert every(search, q='"spiral" galaxy') == every(search, q="spiral galaxy")
    assert every(search, q="NGC 103") == every(search, place="NGC 103")
    assert len(every(search, q='"NGC 103"')) == NUM_TILES


def test_targets_of_the_catalog_and_positions_become_cones(search: Search) -> None:
    cone = search.resolve_target("ngc103")
    assert (cone.ra_deg, cone.dec_deg) == pytest.approx(sky_of(3, 0))
    assert set(every(search, place="ngc103")) == {tile_id_of(3, number) for number in range(TILES_EACH)}
    assert set(every(search, place="ngc103", radius=0.5)) == {tile_id_of(3, 0), tile_id_of(3, 1)}  # 20 arcsec apart
    assert search.resolve_target("10.5, -41", 0.2) == Cone(ra_deg=10.5, dec_deg=-41.0, radius_deg=0.2)


def test_many_threads_get_the_answers_of_the_old_or_of_the_new_index(own_index: Settings) -> None:
    search = Search.open(own_index)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: id(search.opened.model.load()), range(8)))) == 1
    add_tiles(own_index, range(8, 9), range(1))
    queries = [SearchParams(q=text, mode=mode, k=50) for text in ("galaxy", "comet") for mode in Mode]
    before = [search.run(query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(search.run, query) for query in queries * 4]
        index(own_index)
        found += [pool.submit(search.run, query) for query in queries]
    after = [search.run(query) for query in queries]
    assert before != after
    for number, one in enumerate(found):
        assert one.result().hits in [answers[number % len(queries)].hits for answers in (before, after)]


def test_without_an_index_or_catalog_the_error_says_what_to_run(own_index: Settings) -> None:
    layout = Layout(own_index.root)
    catalog = layout.catalog.rename(layout.root / "moved")
    with pytest.raises(CatalogError, match="no catalog"):
        Search.open(own_index)
    catalog.rename(layout.catalog)
    shutil.rmtree(layout.index)
    with pytest.raises(SearchError, match="hubbleclip index"):
        Search.open(own_index)


def test_what_is_replaced_while_it_is_opened_is_opened_again_and_a_model_stays_loaded(
    site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(settings_of(shutil.copytree(site.data, tmp_path / "data")).root)
    former = open_index.open_index(layout)
    assert former.is_newest()
    changed = [replace(former, current=replace(former.current, **{one: ""})) for one in ("store", "model_digest")]
    assert [open_index.open_index(layout, one).model is one.model for one in changed] == [True, False]

    def opened_late(*arguments: Any) -> TileFacts:
        write_bytes(layout.catalog, layout.catalog.read_bytes())
        return TileFacts(*arguments)

    monkeypatch.setattr(open_index, "TileFacts", opened_late)
    assert not open_index.open_index(layout).is_newest()


def test_hits_of_which_only_the_best_are_sorted_are_not_counted(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("engine", "ranking"):
        monkeypatch.setattr(f"hubbleclip.search.{module}.FUSED_DEPTH", TILES_EACH)
    for params, *counted in (({"q": "galaxy"}, 6, False), ({"q": "galaxy", "proposal": "3"}, 6, True), ({}, 48, True)):
        hits = search.run(SearchParams(sort="date", group="none", **params))
        assert [hits.num_hits, hits.is_counted] == counted


def test_counting_ranks_no_deeper_than_the_page_needs(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubbleclip.search.engine.COUNTED", NUM_PROPOSALS)
    monkeypatch.setattr("hubbleclip.search.ranking.MIN_DEPTH", 2)
    monkeypatch.setattr("hubbleclip.search.ranking.DEPTH_FACTOR", 2)
    first, whole = (search.run(SearchParams(q="comet", mode="model", k=k)) for k in (1, NUM_PROPOSALS))
    assert 1 < first.num_hits < whole.num_hits == NUM_PROPOSALS
    assert (first.is_counted, first.has_more, whole.is_counted, whole.has_more) == (False, True, True, False)
    two = search.run(SearchParams(q="comet", mode="model", group="none", proposal=["3", "4"], k=1))
    assert (two.num_hits, two.is_counted, two.has_more) == (NUM_PROPOSALS, False, True)  # 12 tiles are ranked


def test_hits_that_a_new_index_lacks_are_not_saved(search: Search) -> None:
    hits = search.run(SearchParams(q="galaxy", k=2))
    changed = replace(hits, hits=(hits.hits[0], replace(hits.hits[1], tile_id="f" * 32)))
    with pytest.raises(SearchError, match="search again"):
        search.save(changed, io.BytesIO())


def test_a_search_writes_nothing(site: Settings) -> None:
    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in site.root.rglob("*")}

    before = state()
    Search.open(site).text("galaxy", k=3)
    assert state() == before


def test_tables_have_units_pictures_and_escaped_texts(search: Search) -> None:
    table = search.text("spiral galaxy", k=4, instrument="WFC3/UVIS")
    assert len(table) == 4
    assert set(table["instrument"]) == {"WFC3/UVIS"}
    assert str(table["ra_deg"].unit) == "deg"
    table["title"] = ["<script>alert(1)</script>"] * 4
    table["picture"][3] = "missing.png"
    shown = table._repr_html_()
    pictures = re.findall(r'<img alt="tile (\w+)" src="data:image/jpeg;base64,([^"]+)">', shown)
    assert [tile_id for tile_id, _ in pictures] == list(table["tile_id"])[:3]
    with Image.open(io.BytesIO(base64.b64decode(pictures[0][1]))) as picture:
        assert max(picture.size) > 32
    assert "<script>" not in shown
    assert "<td>-</td>" in shown and "&lt;script&gt;" in shown
    liked = search.like(tile_id_of(3, 2), k=2, pi="p3")
    assert (liked["tile_id"][0], list(liked["proposal_id"])) == (tile_id_of(3, 2), ["hst:3"] * 2)
    assert len(search.text("qqqq^999", k=3, mode="words")) == 0
    assert list(search.find(cycle=[21, 22], moving=False)["cycle"]) == [21] * TILES_EACH
    wrong = {"colour": "red", "exposure_s_min": -1, "moving": 1, "radius": 0, "page": 0, "cycle": 10_001, "seed": -1}
    for name, value in (wrong | {"pi": "a" * 201, "not": "a" * 4001, "box": "0,1,5,4", "sort": "best"}).items():
        with pytest.raises(ParameterError, match=name):
            search.text("galaxy", **{name: value})


@pytest.mark.parametrize("value", [5, ["galaxy", 1]])
@pytest.mark.parametrize("method", ["open", "run", "text", "like", "tile", "resolve_target"])
def test_a_value_of_a_wrong_type_is_refused_in_one_line(method: str, value: object, search: Search) -> None:
    with pytest.raises(HubbleclipError) as caught:
        getattr(search, method)(value)
    assert "\n" not in str(caught.value)
