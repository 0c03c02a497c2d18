"""What a search knows beside hits: values of filters, map of the features, occlusion map."""

import numpy as np
import pytest
from search_site import NUM_TILES, tile_id_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.search import open_index
from hubbleclip.search.engine import NUM_SQUARES, Search
from hubbleclip.search.open_index import number_labels
from hubbleclip.search.params import SearchParams
from hubbleclip.search.records import NumberedLabels


@pytest.fixture(scope="module")
def offline(site: Settings) -> Search:
    """A search that asks no name of Sesame."""
    return Search(Layout(site.root), asks_sesame=False)


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


@pytest.mark.parametrize(
    ("query", "words", "meant"),
    [
        ({"q": "10 10 1"}, "No tile within 1.0° of 10 10 1; the nearest, NGC-104, is 40.0° away", ""),
        ({"place": "10 10"}, "No tile within 6′ of 10 10; the nearest, NGC-104, is 40.0° away", ""),
        ({"place": "NGC 103", "exposure_s_min": 1e6}, None, ""),
        ({"q": "Sipral Galaxy"}, "No abstract has 'sipral'", "spiral Galaxy"),
        ({"q": "comit"}, "No abstract has 'comit'", "comet"),
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
    offline: Search, query: dict, words: str | None, meant: str
) -> None:
    notes = offline.run(SearchParams(**query)).notes
    assert [note.meant for note in notes] == ([meant] if words else [])
    assert all(words in note.text for note in notes)


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
