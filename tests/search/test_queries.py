"""Random queries against the obvious way: each kind of term, weights, ranks by model and words, groups and pages."""

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates.name_resolve import sesame_url
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from search_site import KINDS, NUM_PROPOSALS, TILES_EACH, proposal_row, tile_id_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import SearchError
from hubbleclip.core.io import sha256_file
from hubbleclip.core.vectors import unit, unit_vectors
from hubbleclip.evaluation.metrics.baselines import bm25_scores
from hubbleclip.images.tiling import tile_file
from hubbleclip.search import ranking
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.search.ranking import dense_ranks, first_of_groups, fold_near_duplicates
from hubbleclip.search.records import Cone, GroupBy, Mode, Term
from tests.bad_server import BadServer, give

PLACES = [(proposal, number) for proposal in range(NUM_PROPOSALS) for number in range(TILES_EACH)]
EVERY = {"k": len(PLACES), "group": GroupBy.NONE}
TEXTS = ("galaxy dust", "spiral", "bright comet", "104 galaxies", "qqqq", "study of a planetary nebula")


def words_of(one: Term) -> str | None:
    if one.kind == "proposal":
        return proposal_row(int(one.value.removeprefix("hst:"))).abstract
    return one.value if one.kind == "text" else None


@cache
def bm25(text: str) -> np.ndarray:
    """Score of each of `PLACES`: that of title and abstract, and that of the target's name and keywords."""
    rows = [proposal_row(proposal) for proposal in range(NUM_PROPOSALS)]
    targets = [f"NGC-{100 + proposal} {KINDS[proposal % 4]};BRIGHT" for proposal in range(NUM_PROPOSALS)]
    both = [bm25_scores([text], texts)[0] for texts in ([f"{row.title} {row.abstract}" for row in rows], targets)]
    return np.array([both[0][proposal] + both[1][proposal] for proposal, _ in PLACES])


def feature(search: Search, one: Term) -> np.ndarray:
    words = words_of(one)
    if words is not None:
        return search._opened.model.embed_text(words)
    row = search._opened.store.tile_ids.to_pylist().index(one.value)
    return search._opened.store.features([row])[0]


def admitted_places(params: SearchParams) -> list[int]:
    """Positions in `PLACES` of the tiles that the filters of `QUERIES` admit."""
    return [
        i
        for i, (proposal, number) in enumerate(PLACES)
        if (not params.filter or number % 2 == 1)
        and (not params.split or proposal % 3 == 0)
        and (params.exposure_s_max is None or number < 3)
    ]


def query_feature(search: Search, terms: tuple[Term, ...], tile_weight: float) -> np.ndarray:
    """Weighted sum of the unit features of the terms."""
    factors = [one.weight * (tile_weight if one.kind == "tile" else 1) for one in terms]
    features = [feature(search, one).astype(np.float64) for one in terms]
    return sum(factor * one / np.linalg.norm(one) for factor, one in zip(factors, features, strict=True))


def rows_of_places(search: Search) -> list[int]:
    tile_ids = search._opened.store.tile_ids.to_pylist()
    return [tile_ids.index(tile_id_of(*place)) for place in PLACES]


def look_alikes(search: Search, by_words: np.ndarray, admitted: list[int]) -> np.ndarray:
    """Cosine similarity of each of `PLACES` to the weighted sum of the three best tiles by words."""
    rows = rows_of_places(search)
    feat_nd = search._opened.store.features(rows)
    found = [at for at in admitted if by_words[at] > 5e-7]
    best = sorted(found, key=lambda at: (-round(by_words[at], 6), rows[at]))[:3]
    examples_d = sum((by_words[at] * feat_nd[at] for at in best), np.zeros(feat_nd.shape[1]))
    return feat_nd @ (examples_d / max(np.linalg.norm(examples_d), 1e-12))


def word_scores(terms: tuple[Term, ...]) -> np.ndarray:
    return sum(one.weight * bm25(words) for one in terms if (words := words_of(one)) is not None)


TERMS = st.one_of(
    st.tuples(st.just("q"), st.sampled_from(TEXTS), st.sampled_from([1.0, 2.0, 0.5, -0.5, -1.0])),
    st.tuples(st.just("abstract_of"), st.sampled_from(["3", "hst:6"]), st.sampled_from([1.0, -0.25])),
    st.tuples(st.just("like"), st.sampled_from([tile_id_of(1, 1), tile_id_of(6, 0)]), st.sampled_from([1.0, -0.3])),
)
"""Name, value and weight of a term."""
FILTERS = st.fixed_dictionaries(
    {
        "filter": st.sampled_from([(), ("F814W",)]),
        "split": st.sampled_from([(), ("train",)]),
        "exposure_s_max": st.sampled_from([None, 300.0]),
    }
)


@st.composite
def queries(draw: st.DrawFn) -> SearchParams:
    terms = draw(st.lists(TERMS, min_size=1, max_size=3, unique_by=lambda one: one[1]))
    has_text = any(name != "like" for name, _, _ in terms)
    mode = draw(st.sampled_from(list(Mode) if has_text else [Mode.MODEL, Mode.BOTH]))
    lists = {kind: [f"{value}^{weight}" for name, value, weight in terms if name == kind] for kind, _, _ in terms}
    return SearchParams(**lists, **draw(FILTERS), mode=mode, group=draw(st.sampled_from(list(GroupBy))))


@settings(max_examples=60)
@given(query=queries())
def test_ranks_and_scores_are_those_of_the_obvious_way(search: Search, query: SearchParams) -> None:
    page = search.run(query.model_copy(update=EVERY))
    admitted, terms = admitted_places(query), tuple(query.terms())
    is_fused = query.mode is Mode.BOTH and any(words_of(one) for one in terms)
    length = np.linalg.norm(query_d := query_feature(search, terms, ranking.TILE_WEIGHT if is_fused else 1))
    by_model = search._opened.store.features(rows_of_places(search)) @ (query_d / length)
    by_words = word_scores(terms)
    texts_weight = sum(max(one.weight, 0) for one in terms if words_of(one))
    has_words = not np.isscalar(by_words)
    likeness = look_alikes(search, by_words, admitted) if has_words else None
    for hit in page.hits:
        at = PLACES.index((int(hit.facts["proposal_id"][4:]), int(hit.facts["obs_id"].split("-")[1])))
        assert at in admitted
        model_rank = 1 + sum(by_model[other] > by_model[at] + 1e-7 for other in admitted)
        is_found = has_words and by_words[at] > 5e-7
        words_rank = (
            1 + len({round(by_words[other], 6) for other in admitted if by_words[other] > by_words[at] + 5e-7})
            if is_found
            else None
        )
        if query.mode is Mode.WORDS:
            assert (hit.model_rank, hit.words_rank) == (None, words_rank)
            assert hit.score == pytest.approx(by_words[at], abs=1e-6)
            continue
        assert hit.model_rank == pytest.approx(model_rank, abs=2)  # equal features
        if query.mode is Mode.MODEL or not has_words:
            assert hit.words_rank is None
            assert hit.score == pytest.approx(by_model[at], abs=1e-5)
        else:
            assert hit.words_rank == words_rank
            model_part = length * by_model[at] + texts_weight * likeness[at]
            assert hit.score == pytest.approx(by_words[at].clip(0) + 2 * model_part, abs=1e-4)
    with_words = [at for at in admitted if query.mode is not Mode.WORDS or by_words[at] > 5e-7]
    assert page.num_admitted == len(with_words)
    scores = [hit.score for hit in page.hits]
    assert scores == sorted(scores, reverse=True)
    if query.mode is Mode.WORDS:
        assert {hit.facts["proposal_id"] for hit in page.hits} == {
            f"hst:{PLACES[at][0]}" for at in admitted if by_words[at] > 5e-7
        }


@pytest.mark.parametrize("mode", list(Mode))
def test_filters_that_admit_nothing_give_no_hit(search: Search, mode: Mode) -> None:
    page = search.run(SearchParams(q="galaxy", proposal="none", mode=mode))
    assert (page.hits, page.num_admitted, page.has_more) == ((), 0, False)


@pytest.mark.parametrize(("min_depth", "fused_depth"), [(200, 1000), (2, 9)])
@pytest.mark.parametrize(
    "terms",
    [
        {"sort": "date", "group": "none"},
        {"q": "galaxy dust", "exposure_s_max": 300},
        {"q": "spiral^2", "not": "dust", "mode": "words", "group": "none"},
        {"abstract_of": "3", "like": tile_id_of(1, 1), "group": "sky"},
        {"like": tile_id_of(6, 0), "mode": "model", "group": "none", "split": "train"},
    ],
)
def test_pages_joined_are_the_large_page_without_repeats(
    terms: dict, search: Search, min_depth: int, fused_depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "MIN_DEPTH", min_depth)
    monkeypatch.setattr(ranking, "FUSED_DEPTH", fused_depth)
    whole = search.run(SearchParams(**terms, k=100))
    num = len(whole.hits)
    for size in (4, 7):
        numbers = range(1, num // size + 2)
        pages = [search.run(SearchParams(**terms, k=size, page=number)) for number in numbers]
        assert [hit for page in pages for hit in page.hits] == list(whole.hits)
        assert {(page.num_hits, page.is_counted) for page in pages} == {(num, True)}
        assert [page.has_more for page in pages] == [size * number < num for number in numbers]
    assert len({hit.tile_id for hit in whole.hits}) == num
    if whole.params.group is GroupBy.PROPOSAL:
        assert len({hit.facts["proposal_id"] for hit in whole.hits}) == num


def test_a_fits_file_is_the_mean_of_its_tiles_by_the_settings_of_the_index(
    search: Search, site: Settings, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    data_yx = rng.normal(0, 1, (600, 1100)).astype(np.float32)
    data_yx[100:200, 100:900] += 40
    path = tmp_path / "mine_drz.fits"
    header = fits.Header({"EXTNAME": "SCI", "BUNIT": "ELECTRONS/S"})
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data_yx, header)]).writeto(path)
    tiles = tile_file(path, sha256_file(path), site.tiles, path.name).tiles
    assert len(tiles) > 1
    model = search._opened.model
    mean_d = model.embed_images([model.decode(tile.encoded) for tile in tiles]).mean(axis=0)
    hits = search.run(SearchParams(image=str(path), mode=Mode.MODEL, **EVERY)).hits
    tile_ids = search._opened.store.tile_ids.to_pylist()
    feat_nd = search._opened.store.features([tile_ids.index(hit.tile_id) for hit in hits])
    assert [hit.score for hit in hits] == pytest.approx(feat_nd @ (mean_d / np.linalg.norm(mean_d)), abs=1e-5)
    (tmp_path / "mine_drz").write_bytes(gzip.compress(path.read_bytes()))
    packed = search.run(SearchParams(image=str(tmp_path / "mine_drz"), mode=Mode.MODEL, **EVERY)).hits
    assert [(hit.tile_id, hit.score) for hit in packed] == [(hit.tile_id, hit.score) for hit in hits]


def test_a_name_that_the_catalog_does_not_have_is_looked_up_by_sesame(search: Search) -> None:
    known, nothing = give(b"%J 283.396 +33.029 = 18 53 35 +33 01 44\n"), give(b"#!SIMBAD: nothing\n")
    with BadServer(known, nothing) as sesame, sesame_url.set([f"{sesame.url}/"]):
        cone = search.resolve_target("Ring Nebula")
        assert cone == Cone(ra_deg=pytest.approx(283.396), dec_deg=pytest.approx(33.029), radius_deg=0.1)
        with pytest.raises(SearchError, match="Sesame"):
            search.resolve_target("Nowhere 7")
    with sesame_url.set([f"{sesame.url}/"]), pytest.raises(SearchError, match="cannot be reached"):
        search.resolve_target("Nowhere 8")
    assert [path.partition("?")[2] for path in sesame.paths] == ["Ring%20Nebula", "Nowhere%207"]


@pytest.mark.parametrize("num", [0, 1, 2, 7, 500])
def test_fast_functions_equal_the_obvious_ones(num: int) -> None:
    rng = np.random.default_rng(num)
    for _ in range(20):
        group_n = rng.integers(-3, max(1, num // 3), num)
        first = [n for n, group in enumerate(group_n) if group < 0 or group not in group_n[:n]]
        assert first_of_groups(group_n).tolist() == first
        some = min(num, 60)
        feat_nd = unit(rng.integers(0, 3, some)[:, None] * 9.0 + rng.normal(size=(some, 3)))
        xyz_n3 = unit_vectors(rng.choice([1.0, 1.001, 1.002, np.nan], some), rng.choice([1e-3, 0.0], some))
        side_rad_n = np.radians(rng.choice([0.003, 0.0043, 0.009, np.nan], some))
        folded: list[int | None] = []
        for later in range(some):
            near = [
                earlier
                for earlier in range(later)
                if folded[earlier] is None
                and feat_nd[earlier] @ feat_nd[later] >= 0.97
                and np.linalg.norm(xyz_n3[earlier] - xyz_n3[later]) <= side_rad_n[later] / 4
                and np.isfinite(side_rad_n[earlier])
            ]
            folded.append(near[0] if near else None)
        assert fold_near_duplicates(feat_nd, xyz_n3, side_rad_n) == folded
        score_n = rng.integers(0, 50, num) / 7
        assert dense_ranks(score_n, score_n).tolist() == (np.unique(-score_n, return_inverse=True)[1] + 1).tolist()


@pytest.mark.parametrize("terms", [{"q": "galaxy dust"}, {"q": "spiral^2", "unlike": tile_id_of(1, 1)}])
def test_only_the_best_tiles_by_the_model_and_by_words_have_more_than_their_words(
    terms: dict, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "FUSED_DEPTH", 5)
    query = SearchParams(**terms, **EVERY)
    found, parts = search.run(query).hits, tuple(query.terms())
    length = np.linalg.norm(query_d := query_feature(search, parts, ranking.TILE_WEIGHT))
    rows = rows_of_places(search)
    by_model = (search._opened.store.features(rows) @ (query_d / length)).round(9)
    by_words = word_scores([one for one in parts if words_of(one)]).round(6)
    best_model, best_words = (
        sorted(range(len(rows)), key=lambda at: (-by[at], rows[at]))[:5] for by in (by_model, by_words)
    )
    likeness = look_alikes(search, by_words, list(range(len(rows))))
    texts_weight = sum(one.weight for one in parts if words_of(one))
    assert len(found) > len({*best_model, *best_words})
    monkeypatch.setattr(ranking, "SORTED_DEPTH", 3)
    few, every = (search._asked(query).ranker.best(depth) for depth in (3, len(rows)))
    assert (len(few.row_n), few.is_complete, len(every.row_n), every.is_complete) == (3, False, len(rows), True)
    for hit in found:
        at = PLACES.index((int(hit.facts["proposal_id"][4:]), int(hit.facts["obs_id"].split("-")[1])))
        of_model = length * by_model[at] + texts_weight * likeness[at]
        if at not in {*best_model, *best_words}:
            of_model = min(0, length * by_model[best_model[-1]])
        assert hit.score == pytest.approx(by_words[at] + 2 * of_model, abs=1e-4)
        assert hit.model_rank == (1 + best_model.index(at) if at in best_model else None)
        assert (hit.words_rank is None) == (by_words[at] == 0)
