"""What a search knows beside hits: values of filters, map of the features, occlusion map."""

import numpy as np
import pytest
from search_site import NUM_TILES, TILES_EACH, sky_of, tile_id_of

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.pipeline.index import index
from hubbleclip.search import open_index
from hubbleclip.search.engine import NUM_SQUARES, Search
from hubbleclip.search.open_index import number_labels
from hubbleclip.search.params import SearchParams
from hubbleclip.search.records import NumberedLabels


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"q": "dust", "instrument": "WFC3/IR"},
        {"q": "comet", "mode": "words", "exposure_s_max": 300},
        {"abstract_of": "6", "not": "galaxy", "mode": "words"},
    ],
)
def test_each_value_of_a_filter_admits_as_many_tiles_as_it_says(search: Search, query: dict) -> None:
    facets = search.facets(SearchParams(**query))
    assert set(facets) == {"instrument", "filter", "category", "cycle", "split"}
    assert len(facets["instrument"]) == 3  # also those that the search has not
    for name, values in facets.items():
        for value, num in values:
            params = SearchParams(**query | {name: value})
            assert search.run(params).num_admitted == num > 0, (name, value)
            assert len(search.points(params).tile_ids) == len(search.positions(params)[0]) == num


def test_values_are_sorted_by_their_numbers_and_clear_positions_of_a_wheel_are_none(search: Search) -> None:
    assert search.facets(SearchParams(split="train", exposure_s_min=150, exposure_s_max=450)) == {
        "instrument": [("ACS/WFC", 3), ("WFC3/IR", 3), ("WFC3/UVIS", 3)],
        "filter": [("F814W", 6), ("F606W", 3)],
        "category": [("GALAXIES", 6), ("STARS", 3)],
        "cycle": [(20, 3), (23, 3), (26, 3)],
        "split": [("train", 9), ("val", 9), ("test", 6)],
    }
    chosen = SearchParams(split="train", cycle=[21])  # of the split val
    assert search.facets(chosen)["cycle"] == [(20, 6), (23, 6), (26, 6), (21, 0)]


@pytest.mark.parametrize("query", [{}, {"q": "galaxy"}])
def test_hits_are_sorted_by_date_exposure_distance_and_chance(search: Search, query: dict) -> None:
    def facts(sort: str, **params: object) -> list[dict]:
        found = search.run(SearchParams(**query, sort=sort, group="none", k=NUM_TILES, **params)).hits
        return [hit.facts | {"tile_id": hit.tile_id} for hit in found]

    assert facts("date") == sorted(facts("date"), key=lambda one: one["observed_at"], reverse=True)
    assert facts("exposure") == sorted(facts("exposure"), key=lambda one: one["exposure_s"], reverse=True)
    near = [one["dec_deg"] for one in facts("distance", place=f"{sky_of(3, 0)[0]} -30 1")]
    assert near == sorted(near)
    assert len(near) == TILES_EACH
    orders = [[one["tile_id"] for one in facts("random", seed=seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    with pytest.raises(SearchError, match="needs a place"):
        facts("distance")


def test_the_hits_around_a_hit_are_those_of_the_list(search: Search) -> None:
    params = SearchParams(q="galaxy", k=3)
    ids = [hit.tile_id for hit in search.run(params.model_copy(update={"k": NUM_TILES})).hits]
    assert [search.around(params, tile_id) for tile_id in ids] == list(
        zip([None, *ids], [*ids[1:], None], strict=False)
    )
    assert search.around(params, "f" * 32) == (None, None)


@pytest.mark.parametrize(
    ("query", "words", "meant"),
    [
        ({"q": "10 10 1"}, "No tile within 1.0° of 10 10 1; the nearest, NGC-104, is 40.0° away", ""),
        ({"place": "10 10"}, "No tile within 6′ of 10 10; the nearest, NGC-104, is 40.0° away", ""),
        ({"place": "NGC 103", "exposure_s_min": 1e6}, None, ""),
        ({"q": "Sipral Galaxy"}, "No abstract has 'sipral'", "spiral Galaxy"),
        ({"q": ["spiral galaxy", "sipral^-1"]}, None, ""),
        (
            {"q": "sipral galaxyy clustre nebulla"},
            "No abstract has 'sipral', 'galaxyy', 'clustre'.",
            "spiral galaxy cluster nebulla",
        ),
        ({"q": "NGC 9999"}, "No position of NGC 9999 is known", ""),
        ({"q": "galaxie mit Staub"}, "are English", ""),
        ({"q": "étoiles éloignées"}, "are English", ""),
        ({"q": "螺旋星系"}, "are English", ""),
        ({"q": "spiral galaxy é α"}, None, ""),
        ({"q": "red car"}, "No tile fits well by words", ""),
        ({"q": "red car", "mode": "model"}, None, ""),
        ({"q": "spiral galaxy"}, None, ""),
    ],
)
def test_notes_say_what_is_far_unknown_foreign_or_no_better_than_chance(
    search: Search, query: dict, words: str | None, meant: str
) -> None:
    notes = Search(search._layout, asks_sesame=False).run(SearchParams(**query)).notes
    assert [note.meant for note in notes] == ([meant] if words else [])
    assert all(words in note.text for note in notes)


def test_a_category_in_capitals_is_the_same_category(own_site: Settings) -> None:
    with writing_catalog(Layout(own_site.root)) as catalog:
        catalog.connection.execute("UPDATE proposal SET category = 'Stars' WHERE proposal_id = 'hst:1'")
    index(own_site)
    search = Search.open(own_site)
    half = NUM_TILES // 2
    assert search.facets()["category"] == [("GALAXIES", half), ("Stars", half)]
    assert search.run(SearchParams(category="Stars")).num_admitted == half
    assert set(search.points().labels["category"].values) == {"GALAXIES", "Stars"}


@pytest.mark.parametrize("filters", [{}, {"instrument": "WFC3/IR", "exposure_s_max": 300}])
def test_the_map_has_each_tile_of_a_search_with_what_it_is(filters: dict, search: Search) -> None:
    points, whole = search.points(SearchParams(**filters)), search.points()
    facts = {hit["tile_id"]: hit for hit in search.find(**filters, k=NUM_TILES)}
    assert set(points.tile_ids) == set(facts)
    for name, label in points.labels.items():
        assert [label.values[n] for n in label.numbers] == [facts[tile_id][name] for tile_id in points.tile_ids]
    place_of = dict(zip(whole.tile_ids, zip(whole.x, whole.y, strict=True), strict=True))
    assert list(zip(points.x, points.y, strict=True)) == [place_of[tile_id] for tile_id in points.tile_ids]
    assert set(points.labels) == {"instrument", "category"}
    assert number_labels(["b", "a", None, "a"]) == NumberedLabels(values=["a", "b"], numbers=[1, 0, -1, 0])


@pytest.mark.parametrize("step", [1, 3])
def test_the_map_has_evenly_spaced_tiles_at_the_first_two_principal_components(
    step: int, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MAX_MAPPED": NUM_TILES // step, "MAX_FITTED": NUM_TILES // 2, "CHUNK_ROWS": 7}.items():
        monkeypatch.setattr(open_index, name, value)
    search = Search.open(site)
    feat_nd = search._opened.store.features(range(NUM_TILES)).astype(np.float64)
    fitted_nd = feat_nd[::2] - feat_nd[::2].mean(axis=0)
    expected_2n = np.linalg.svd(fitted_nd)[2][:2] @ (feat_nd - feat_nd[::2].mean(axis=0)).T
    points = search.points()
    assert points.tile_ids == search._opened.store.tile_ids.to_pylist()[::step]
    np.testing.assert_allclose(np.abs([points.x, points.y]), np.abs(expected_2n[:, ::step]), atol=6e-5)


def test_the_nearest_phrases_are_those_of_highest_similarity(search: Search) -> None:
    row, model = search._opened.store.tile_ids.index(tile_id_of(1, 3)).as_py(), search._opened.model
    feature_d, found = search._opened.store.features([row])[0], search.phrases(tile_id_of(1, 3))
    assert search.phrases("f" * 32) == {}
    for name, vocabulary in (("objects", "object_classes"), ("hypotheses", "science_hypotheses")):
        scores = {text: float(model.embed_text(text) @ feature_d) for text in read_vocabulary()[vocabulary]}
        best = sorted(scores, key=lambda text: -scores[text])[:5]
        assert [text for text, _ in found[name]] == best
        assert [score for _, score in found[name]] == pytest.approx([scores[text] for text in best], abs=1e-4)


def test_the_occlusion_map_is_the_drop_of_the_similarity_square_by_square(search: Search, site: Settings) -> None:
    tile_id, text = tile_id_of(4, 2), "spiral galaxy"
    found = search.occlusion(tile_id, text)
    model = search._opened.model
    image_yx = model.decode(Layout(site.root).tile(tile_id).read_bytes())
    text_d = model.embed_text(text)
    assert found.similarity == pytest.approx(float(model.embed_images([image_yx])[0] @ text_d), abs=1e-5)
    size = len(image_yx)
    edges = [size * n // NUM_SQUARES for n in range(NUM_SQUARES + 1)]
    for row, column in ((0, 0), (2, 5), (3, 3), (NUM_SQUARES - 1, 0), (NUM_SQUARES - 1, NUM_SQUARES - 1)):
        covered = image_yx.copy()
        covered[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = int(np.median(image_yx))
        similarity = float(model.embed_images([covered])[0] @ text_d)
        assert found.drop_yx[row, column] == pytest.approx(found.similarity - similarity, abs=1e-5)


def test_a_tile_without_a_readable_picture_has_no_map(own_site: Settings) -> None:
    index(own_site)
    tile_id = tile_id_of(1, 1)
    for content in (b"damaged", None):
        path = Layout(own_site.root).tile(tile_id)
        path.write_bytes(content) if content else path.unlink()
        with pytest.raises(SearchError, match="cannot be read"):
            Search.open(own_site).occlusion(tile_id, "galaxy")
    with pytest.raises(SearchError, match="there is no tile"):
        Search.open(own_site).occlusion("f" * 32, "galaxy")
