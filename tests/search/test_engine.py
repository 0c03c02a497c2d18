"""What a search finds: by text, tile, picture and proposal; by model and words; filtered, grouped, in pages."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates.name_resolve import sesame_url
from astropy.io import fits
from search_site import NUM_PROPOSALS, TILES_EACH, add_tiles, sky_of, tile_id_of

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import CatalogError, SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.index import index
from hubbleclip.search import engine
from hubbleclip.search.engine import Search
from hubbleclip.search.query import Box, Cone, Filters, GroupBy, Mode, Query, Term, TermKind

NUM_TILES = NUM_PROPOSALS * TILES_EACH
EVERY = {"k": NUM_TILES, "group_by": GroupBy.NONE}


@pytest.fixture(scope="module")
def search(site: Settings) -> Search:
    return Search.open(site.root)


def term(value: str, kind: TermKind = TermKind.TEXT, weight: float = 1.0) -> Term:
    return Term(kind=kind, value=value, weight=weight)


def ids(search: Search, query: Query) -> list[str]:
    return [hit.tile_id for hit in search.run(query).hits]


def by_hand(search: Search, *weighted: tuple[float, np.ndarray]) -> list[str]:
    """Tile ids by cosine similarity, computed the obvious way."""
    opened = search._opened
    query_d = sum(weight * feature_d / np.linalg.norm(feature_d) for weight, feature_d in weighted)
    feat_nd = opened.store.features(range(NUM_TILES))
    order = np.argsort(-(feat_nd @ query_d), kind="stable")
    return [opened.store.tile_ids[int(row)].as_py() for row in order]


def without_duplicates(search: Search, found: list[str], expected: list[str]) -> None:
    """The hits are the expected ones in their order; only near-duplicates are missing."""
    assert found == [tile_id for tile_id in expected if tile_id in set(found)]
    assert found[0] == expected[0]
    assert len(found) > 10


def test_texts_and_tiles_are_added_by_their_weights(search: Search) -> None:
    model = search._opened.model
    tile_id = tile_id_of(3, 2)
    row = search._opened.store.tile_ids.to_pylist().index(tile_id)
    terms = (term("spiral galaxy"), term("comet", weight=-0.5), term(tile_id, TermKind.TILE, 2.0))
    found = ids(search, Query(terms=terms, mode=Mode.MODEL, **EVERY))
    weighted = [
        (1.0, model.embed_text("spiral galaxy")),
        (-0.5, model.embed_text("comet")),
        (2.0, search._opened.store.features([row])[0]),
    ]
    without_duplicates(search, found, by_hand(search, *weighted))


def test_a_tile_is_most_like_itself(search: Search) -> None:
    hits = search.run(Query(terms=(term(tile_id_of(3, 2), TermKind.TILE),), k=3)).hits
    assert hits[0].tile_id == tile_id_of(3, 2)
    assert hits[0].score == pytest.approx(1, abs=2e-3)
    assert (hits[0].model_rank, hits[0].words_rank) == (1, None)  # a tile has no words


def test_a_picture_of_a_tile_finds_the_tile(search: Search, site: Settings, tmp_path: Path) -> None:
    picture = tmp_path / "upload"  # the content decides, not the name
    picture.write_bytes(Layout(site.root).tile(tile_id_of(5, 1)).read_bytes())
    assert ids(search, Query(terms=(term(str(picture), TermKind.IMAGE),), k=1)) == [tile_id_of(5, 1)]


def test_a_fits_file_is_cut_like_the_archives_files(search: Search, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:600, :600] - 300
    data_yx = (40 * np.exp(-np.hypot(y, x) / 60) + rng.normal(0, 1, (600, 600))).astype(np.float32)
    path = tmp_path / "mine_drz.fits"
    header = fits.Header({"EXTNAME": "SCI", "BUNIT": "ELECTRONS/S"})
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data_yx, header)]).writeto(path)
    hits = search.run(Query(terms=(term(str(path), TermKind.IMAGE),), k=5)).hits
    assert len(hits) == 5
    assert hits[0].model_rank == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"text", "no readable"), (b"\x89PNG\r\n\x1a\nbroken", "no readable"), (b"SIMPLE  = garbage", "gives no tile")],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(
    search: Search, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "bad.fits"
    path.write_bytes(content)
    with pytest.raises(SearchError, match=words) as error:
        search.run(Query(terms=(term(str(path), TermKind.IMAGE),)))
    assert "\n" not in str(error.value)


def test_words_find_title_abstract_target_name_and_keywords(search: Search) -> None:
    for text, proposals in (
        ("planetary", {3, 7}),
        ("number 6", {6}),
        ("NGC 104", {4}),
        ("bright comet", set(range(8))),
    ):
        query = Query(terms=(term(text),), mode=Mode.WORDS, k=NUM_TILES)
        hits = search.run(query).hits
        best = [hit for hit in hits if hit.words_rank == 1] if text != "bright comet" else hits
        assert {int(hit.facts["proposal_id"].split(":")[1]) for hit in best} == proposals, text
    hits = search.run(Query(terms=(term("bright comet"),), mode=Mode.WORDS)).hits
    assert {hit.facts["target_class"] for hit in hits[:2]} == {"COMET;BRIGHT"}


def test_the_words_of_a_negative_text_count_against_a_tile(search: Search) -> None:
    terms = (term("galaxy dust"), term("spiral", weight=-2.0))
    hits = search.run(Query(terms=terms, mode=Mode.WORDS)).hits
    assert hits
    assert "SPIRAL GALAXY;BRIGHT" not in {hit.facts["target_class"] for hit in hits}


def test_a_proposal_stands_for_its_abstract(search: Search) -> None:
    for number in ("6", "hst:6"):
        hits = search.run(Query(terms=(term(number, TermKind.PROPOSAL),), mode=Mode.WORDS)).hits
        assert hits[0].facts["proposal_id"] == "hst:6"


def test_both_shows_both_ranks_and_adds_what_looks_like_the_best_tiles_by_words(search: Search) -> None:
    store, query_d = search._opened.store, search._opened.model.embed_text("spiral galaxy")
    hits = search.run(Query(terms=(term("spiral galaxy"),), **EVERY)).hits
    word_score_n = search._opened.facts.word_scores([("spiral galaxy", 1.0)])
    by_words = {row: score for row, score in enumerate(word_score_n) if score}
    best = sorted((score, -row) for row, score in by_words.items())[::-1][:3]
    examples_d = sum(score * store.features([-row])[0] for score, row in best)
    sought_d = query_d / np.linalg.norm(query_d) + examples_d / np.linalg.norm(examples_d)
    by_model = by_hand(search, (1.0, query_d))
    for hit in hits:
        row = store.tile_ids.to_pylist().index(hit.tile_id)
        assert hit.model_rank == by_model.index(hit.tile_id) + 1
        assert bool(hit.words_rank) == (row in by_words)
        assert hit.score == pytest.approx(by_words.get(row, 0) + 2 * (store.features([row])[0] @ sought_d), abs=1e-4)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert not all(hit.words_rank for hit in hits)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("group_by", list(GroupBy))
@pytest.mark.parametrize("terms", [(), (term("galaxy dust"),)], ids=["no terms", "text"])
def test_pages_together_are_the_long_page(
    search: Search, mode: Mode, group_by: GroupBy, terms: tuple[Term, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MIN_DEPTH", 3)
    query = {"terms": terms, "mode": mode, "group_by": group_by}
    whole = search.run(Query(**query, k=100))
    assert not whole.has_more
    pages = [search.run(Query(**query, k=3, offset=offset)) for offset in range(0, len(whole.hits), 3)]
    assert [hit for page in pages for hit in page.hits] == list(whole.hits)
    assert [page.has_more for page in pages] == [True] * (len(pages) - 1) + [False]


def test_a_group_shows_its_best_tile_and_counts_the_others(search: Search) -> None:
    query = {"terms": (term("galaxy"),), "mode": Mode.MODEL, "k": 100}
    single = search.run(Query(**query, group_by=GroupBy.NONE)).hits
    grouped = search.run(Query(**query, group_by=GroupBy.PROPOSAL)).hits
    best: dict[str, str] = {}
    for hit in single:
        best.setdefault(hit.facts["proposal_id"], hit.tile_id)
    assert [hit.tile_id for hit in grouped] == list(best.values())
    assert [hit.num_folded for hit in grouped] == [TILES_EACH - 1] * NUM_PROPOSALS
    by_sky = search.run(Query(**query, group_by=GroupBy.SKY)).hits
    assert sum(hit.num_folded + 1 for hit in by_sky) == NUM_TILES
    assert NUM_PROPOSALS <= len(by_sky) < NUM_TILES  # proposals are far apart, the tiles of one lie side by side


def test_near_duplicates_are_folded_but_not_distant_look_alikes(own_site: Settings) -> None:
    layout = Layout(own_site.root)
    add_tiles(own_site, range(8, 10), range(2))  # proposal 8 has the class of 0 and 4, and another place on the sky
    same = layout.tile(tile_id_of(0, 0)).read_bytes()
    for proposal, number in ((0, 1), (4, 0)):
        layout.tile(tile_id_of(proposal, number)).write_bytes(same)
    ra_deg, dec_deg = sky_of(0, 0)
    with writing_catalog(layout) as catalog:  # (0, 1) now shows the place of (0, 0); (4, 0) does not
        catalog.connection.execute(
            f"UPDATE tile SET ra_deg = {ra_deg}, dec_deg = {dec_deg} + 1e-5 WHERE tile_id = '{tile_id_of(0, 1)}'"
        )
        catalog.connection.execute(
            "UPDATE tile SET png_sha256 = ? WHERE tile_id IN (?, ?)",
            [sha256(same).hexdigest(), tile_id_of(0, 1), tile_id_of(4, 0)],
        )
    index(own_site)
    query = Query(terms=(term(tile_id_of(0, 0), TermKind.TILE),), k=100, group_by=GroupBy.NONE)
    found = ids(Search.open(own_site), query)
    assert (tile_id_of(0, 0) in found) != (tile_id_of(0, 1) in found)
    assert tile_id_of(4, 0) in found
    cone = Cone(ra_deg=ra_deg, dec_deg=dec_deg, radius_deg=1 / 3600)  # a list of what is in a cone is complete
    listed = ids(Search.open(own_site), Query(filters=Filters(cone=cone), group_by=GroupBy.NONE))
    assert sorted(listed) == sorted([tile_id_of(0, 0), tile_id_of(0, 1)])


CENTRE = sky_of(1, 0)
FILTERS = {
    "instrument": (Filters(instruments=("wfc3",)), lambda p, n: n % 3 < 2),
    "instrument and detector": (Filters(instruments=("WFC3/UVIS",)), lambda p, n: n % 3 == 0),
    "detector": (Filters(detectors=("WFC",)), lambda p, n: n % 3 == 2),
    "band": (Filters(bands=("f814w",)), lambda p, n: n % 2 == 1),
    "proposals": (Filters(proposals=("3", "hst:5")), lambda p, n: p in (3, 5)),
    "split": (Filters(splits=("val", "test")), lambda p, n: p % 3 > 0),
    "category": (Filters(categories=("Stars",)), lambda p, n: p % 2 == 1),
    "pi": (Filters(pi="p4 nova"), lambda p, n: p == 4),
    "cycle": (Filters(cycles=(21, 22)), lambda p, n: p in (1, 2)),
    "from": (Filters(observed_from=date(2017, 9, 6)), lambda p, n: p >= 2),
    "to": (Filters(observed_to=date(2017, 9, 6)), lambda p, n: p <= 2),
    "exposure": (Filters(exposure_min_s=200, exposure_max_s=400), lambda p, n: 1 <= n <= 3),
    "scale": (Filters(pixel_scale_min_arcsec=0.05), lambda p, n: False),
    "scale below": (Filters(pixel_scale_max_arcsec=0.05), lambda p, n: True),
    "moving": (Filters(moving_target=True), lambda p, n: p % 4 == 2),
    "fixed": (Filters(moving_target=False), lambda p, n: p % 4 != 2),
    "cone": (
        Filters(cone=Cone(ra_deg=CENTRE[0], dec_deg=CENTRE[1], radius_deg=45 / 3600)),
        lambda p, n: p == 1 and n < 3,
    ),
    "box over RA 0": (
        Filters(box=Box(ra_min_deg=357, ra_max_deg=2, dec_min_deg=-31, dec_max_deg=-29.99)),
        lambda p, n: p in (0, 1) and n < 2,
    ),
    "two at once": (Filters(bands=("F606W",), proposals=("2",)), lambda p, n: p == 2 and n % 2 == 0),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_admit_just_their_tiles(search: Search, name: str) -> None:
    filters, admits = FILTERS[name]
    expected = {tile_id_of(p, n) for p in range(NUM_PROPOSALS) for n in range(TILES_EACH) if admits(p, n)}
    opened = search._opened
    mask_n = engine.admitted_rows(opened.facts, filters, NUM_TILES)
    assert set(opened.store.tile_ids.filter(mask_n).to_pylist()) == expected
    for terms in ((), (term("galaxy"),)):
        page = search.run(Query(terms=terms, filters=filters, **EVERY))
        assert page.num_admitted == len(expected)
        assert {hit.tile_id for hit in page.hits} <= expected


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query(terms=(term(" "),)), "empty"),
        (Query(terms=(term("f" * 32, TermKind.TILE),)), "no indexed tile begins with"),
        (Query(terms=(term("99", TermKind.PROPOSAL),)), "no proposal 99"),
        (Query(terms=(term("a", TermKind.IMAGE),)), "a is no readable"),
        (Query(terms=(term("galaxy"), term("galaxy", weight=-1)), mode=Mode.MODEL), "cancel"),
        (Query(terms=(term(tile_id_of(1, 1), TermKind.TILE),), mode=Mode.WORDS), "needs a text"),
        (Query(k=0), "k of at least 1"),
        (Query(offset=-1), "k of at least 1"),
        (Query(k=10_001), "at most 10000"),
        (Query(filters=Filters(cone=Cone(ra_deg=0, dec_deg=91, radius_deg=1))), "no cone"),
        (Query(filters=Filters(cone=Cone(ra_deg=float("nan"), dec_deg=0, radius_deg=1))), "no cone"),
        (Query(filters=Filters(box=Box(ra_min_deg=0, ra_max_deg=1, dec_min_deg=2, dec_max_deg=1))), "no box"),
    ],
)
def test_an_impossible_query_is_one_clear_line(search: Search, query: Query, words: str) -> None:
    with pytest.raises(SearchError, match=words):
        search.run(query)


def test_texts_from_outside_are_values_and_never_sql(search: Search) -> None:
    for text in ("'; DROP TABLE tile_fact; --", "%' OR 1=1", '"', "\0"):
        search.run(Query(terms=(term(text),)))
        assert search.run(Query(filters=Filters(pi=text, proposals=(text,), bands=(text,)))).num_admitted == 0
    assert search.num_tiles == NUM_TILES


def test_facts_are_those_of_the_catalog(search: Search) -> None:
    (hit,) = search.run(Query(filters=Filters(proposals=("3",), exposure_max_s=100))).hits
    ra_deg, dec_deg = sky_of(3, 0)
    expected = {
        "proposal_id": "hst:3",
        "split": "train",
        "title": "Study of a planetary nebula",
        "target_name": "NGC-103",
        "instrument": "WFC3/UVIS",
        "detector": "UVIS",
        "filter": "F606W",
        "exposure_s": 100.0,
        "ra_deg": ra_deg,
        "dec_deg": dec_deg,
        "pixel_scale_arcsec": 0.04,
        "pi": "Dr. P3 Nova",
        "cycle": 23,
        "category": "STARS",
        "obs_id": "o3-0",
        "product_uri": "mast:3-0",
    }
    assert {name: hit.facts[name] for name in expected} == expected
    assert hit.facts["observed_at"].isoformat() == "2017-09-07T00:00:00"


def test_targets_of_the_catalog_and_positions_become_cones(search: Search) -> None:
    cone = search.resolve_target("ngc103")
    assert (cone.ra_deg, cone.dec_deg) == pytest.approx(sky_of(3, 0))
    assert {hit.facts["proposal_id"] for hit in search.run(Query(filters=Filters(cone=cone))).hits} == {"hst:3"}
    assert search.resolve_target("10.5, -41", 0.2) == Cone(ra_deg=10.5, dec_deg=-41.0, radius_deg=0.2)
    sexagesimal = search.resolve_target("00h42m44.3s +41d16m09s")
    assert (sexagesimal.ra_deg, sexagesimal.dec_deg) == pytest.approx((10.6846, 41.2692), abs=1e-3)
    with pytest.raises(SearchError, match="no position"):
        search.resolve_target("400 10")


def test_an_unknown_target_without_internet_is_one_clear_line(search: Search) -> None:
    with sesame_url.set(["http://127.0.0.1:9/"]), pytest.raises(SearchError, match="no target 'Nowhere 7'"):
        search.resolve_target("Nowhere 7")


def test_many_threads_get_the_answers_of_one(site: Settings) -> None:
    search = Search.open(site)
    queries = [Query(terms=(term(text),), mode=mode, k=5) for text in ("galaxy", "comet", "dust") for mode in Mode]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(search.run, queries * 8))
    assert found == [search.run(query) for query in queries] * 8


def test_a_new_index_answers_without_a_restart_and_a_damaged_one_does_not(own_site: Settings) -> None:
    index(own_site)
    search = Search.open(own_site)
    old = search._opened
    add_tiles(own_site, range(2), range(6, 7))
    assert search.num_tiles == NUM_TILES  # the catalog has new tiles, the index does not
    index(own_site)
    assert search.num_tiles == NUM_TILES + 2
    assert len(old.store.scan(np.ones(old.store.features([0]).shape[1]), 100).row_n) == NUM_TILES
    add_tiles(own_site, range(2), range(7, 8))
    index(own_site)
    layout = Layout(own_site.root)
    for path in layout.index.glob("*/*.i8"):
        path.write_bytes(b"damage")
    assert search.run(Query(terms=(term("galaxy"),), k=1)).num_admitted == NUM_TILES + 2  # the old one, not a wrong one
    with pytest.raises(SearchError, match="damaged"):
        Search.open(own_site)


def test_a_tile_that_left_the_catalog_is_not_found(own_site: Settings) -> None:
    index(own_site)
    with writing_catalog(Layout(own_site.root)) as catalog:
        catalog.connection.execute(f"DELETE FROM tile WHERE tile_id = '{tile_id_of(0, 0)}'")
        catalog.changed = True
    found = ids(Search.open(own_site), Query(terms=(term("galaxy"),), **EVERY))
    assert tile_id_of(0, 0) not in found
    assert tile_id_of(0, 1) in found


def test_without_an_index_or_catalog_the_error_says_what_to_run(own_site: Settings, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="hubbleclip index"):
        Search.open(own_site)
    index(own_site)
    Layout(own_site.root).catalog.unlink()
    with pytest.raises(CatalogError, match="no catalog"):
        Search.open(own_site)


def test_a_search_writes_nothing(site: Settings) -> None:
    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in site.root.rglob("*")}

    before = state()
    Search.open(site).text("galaxy", k=3)
    assert state() == before


def test_tables_have_units_pictures_and_escaped_texts(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    table = search.text("spiral galaxy", k=4, instrument="WFC3/UVIS")
    assert len(table) == 4
    assert set(table["instrument"]) == {"WFC3/UVIS"}
    assert str(table["ra_deg"].unit) == "deg"
    table["title"] = ["<script>alert(1)</script>"] * 4
    shown = table._repr_html_()
    assert shown.count('src="data:image/png;base64,') == 4
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert search.like(tile_id_of(3, 2), k=2)["tile_id"][0] == tile_id_of(3, 2)
    assert len(search.text("qqqq", k=3, mode="words")) == 0
