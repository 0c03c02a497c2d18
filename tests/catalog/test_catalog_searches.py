"""Searches by place and by words, each against a slow and obvious one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import angular_separation
from hypothesis import given, settings
from hypothesis import strategies as st
from valid_catalog import make

from benchmarks.synthetic_catalog import synthetic_rows
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Proposal
from hubbleclip.evaluation.metrics.baselines import bm25_scores

NUM = 4000
RNG = np.random.default_rng(1)
RA = np.concatenate([RNG.uniform(0, 360, NUM), RNG.normal(0, 1, NUM) % 360, RNG.uniform(0, 360, NUM), [0, 0, 0, 180]])
DEC = np.concatenate(
    [
        np.degrees(np.arcsin(RNG.uniform(-1, 1, NUM))),
        RNG.normal(0, 1, NUM),
        RNG.choice([-1, 1], NUM) * (90 - 10 ** RNG.uniform(-6, 1, NUM)),
        [90, -90, 0, 0],
    ]
)
IDS = np.array([f"{index:06d}" for index in range(len(RA))])
CORNERS = [(0.0, 90.0), (12.0, -90.0), (0.0, 0.0), (359.9999999, 0.0), (-0.5, 0.0), (720.0, 1e-9)]


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with writing_catalog(Layout(tmp_path_factory.mktemp("sky") / "demo")) as catalog:
        catalog.upsert({"tile": synthetic_rows("tile", len(RA), tile_id=IDS, ra_deg=RA, dec_deg=DEC)})
        yield catalog


places = st.tuples(st.floats(0, 360, exclude_max=True), st.floats(-90, 90)) | st.sampled_from(CORNERS)
near_a_tile = st.tuples(st.integers(0, len(RA) - 1), st.floats(-1, 1), st.floats(-1, 1))
radii_deg = st.floats(np.log10(0.1 / 3600), np.log10(180)).map(lambda power: 10**power)


@settings(deadline=None, max_examples=30)
@given(place=places | near_a_tile, radius_deg=radii_deg)
def test_cone_finds_what_astropy_finds(sky: Catalog, place: tuple[float, ...], radius_deg: float) -> None:
    if len(place) == 3:  # beside a tile, where tiles are dense
        index, east, north = place
        dec = float(np.clip(DEC[int(index)] + north * radius_deg, -90, 90))
        place = RA[int(index)] + east * radius_deg / max(np.cos(np.radians(dec)), 1e-3), dec
    ra, dec = map(float, place)
    hits = sky.rows("SELECT tile_id, separation_deg FROM cone($ra, $dec, $r)", {"ra": ra, "dec": dec, "r": radius_deg})
    apart = np.degrees(angular_separation(*np.radians([ra, dec]), np.radians(RA), np.radians(DEC)))
    rounding = np.where(apart > 90, 2e-6, 1e-10)
    ids = {row["tile_id"] for row in hits}
    assert ids >= set(IDS[apart < radius_deg - rounding])
    assert ids <= set(IDS[apart <= radius_deg + rounding])
    separations = [row["separation_deg"] for row in hits]
    assert separations == sorted(separations)
    assert np.allclose(separations, [apart[int(row["tile_id"])] for row in hits], rtol=0, atol=2e-6)


@settings(deadline=None, max_examples=30)
@given(west=st.floats(-360, 360), width=st.floats(0, 359.9), south=st.floats(-90, 90), height=st.floats(0, 180))
def test_box_goes_eastwards_from_its_western_edge(
    sky: Catalog, west: float, width: float, south: float, height: float
) -> None:
    edges = {"w": west, "e": west + width, "s": south, "n": south + height}
    hits = {row["tile_id"] for row in sky.rows("SELECT tile_id FROM box($w, $e, $s, $n)", edges)}
    eastwards = (RA - west) % 360
    is_in_band = (south <= DEC) & (edges["n"] >= DEC)
    far_from_edge = (np.minimum(eastwards, 360 - eastwards) > 1e-9) & (np.abs(eastwards - width) > 1e-9)
    assert hits >= set(IDS[is_in_band & far_from_edge & (eastwards < width)])
    assert hits <= set(IDS[is_in_band & ~(far_from_edge & (eastwards > width))])


@settings(deadline=None, max_examples=30)
@given(index=st.integers(0, len(RA) - 1), width=st.floats(0, 300))
def test_box_holds_what_lies_on_its_edges(sky: Catalog, index: int, width: float) -> None:
    for west, east in ((RA[index], RA[index] + width), (RA[index] - width, RA[index])):
        if 0 <= west <= east <= 360:
            edges = {"w": float(west), "e": float(east)}
            hits = sky.rows("SELECT tile_id FROM box($w, $e, -90, 90)", edges)
            assert IDS[index] in {row["tile_id"] for row in hits}


@pytest.mark.parametrize("west", [0.0, 341.16371415787177, -17.3, 0.1])
def test_box_of_all_right_ascensions_is_a_band(sky: Catalog, west: float) -> None:
    edges = {"w": west, "e": west + 360}
    ((num,),) = [row.values() for row in sky.rows("SELECT count(*) FROM box($w, $e, -90, 90)", edges)]
    assert num == len(RA)


def test_a_tile_without_a_place_is_in_no_cone(tmp_path: Path) -> None:
    with writing_catalog(Layout(tmp_path / "demo")) as catalog:
        catalog.upsert({"tile": synthetic_rows("tile", 1, ra_deg=None, dec_deg=None)})
        assert catalog.rows("FROM cone(0, 0, 180)") == []


WORDS = ["dust", "Galaxy", "galaxies", "z=2", "H-alpha", "the", "of", "NGC", "1068", "naïve", "Ωmega"]
texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


def proposal(number: int, title: str, abstract: str | None) -> Proposal:
    return make(Proposal, proposal_id=f"hst:{number:03d}", title=title, abstract=abstract)


def found_by_words(catalog: Catalog, query: str) -> dict[str, float]:
    rows = catalog.rows("FROM search_abstracts($query)", {"query": query})
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    return {row["proposal_id"]: row["score"] for row in rows}


@settings(deadline=None, max_examples=15)
@given(query=texts, first=st.lists(texts, min_size=1, max_size=8), second=st.lists(texts, max_size=8))
def test_search_ranks_as_bm25_does_also_after_abstracts_changed(
    words: Catalog, query: str, first: list[str], second: list[str]
) -> None:
    """The second texts replace the first abstracts, whose words must leave the index."""
    words.connection.execute("DELETE FROM proposal; DELETE FROM abstract_word; DELETE FROM abstract_length")
    texts = {number: ("Title", text) for number, text in enumerate(first)}
    words.upsert({"proposal": [proposal(number, *pair) for number, pair in texts.items()]})
    texts |= {number: ("Other dust", text) for number, text in enumerate(second)}
    words.upsert({"proposal": [proposal(number, *texts[number]) for number in range(len(second))]})
    expected = bm25_scores([query], [" ".join(pair) for pair in texts.values()])[0]
    wanted = {f"hst:{number:03d}": score for number, score in zip(texts, expected, strict=True) if score > 0}
    assert found_by_words(words, query) == pytest.approx(wanted, abs=2e-9)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with writing_catalog(Layout(tmp_path_factory.mktemp("words") / "demo")) as catalog:
        yield catalog


def test_a_proposal_without_an_abstract_is_found_by_its_title(words: Catalog) -> None:
    words.upsert({"proposal": [proposal(999, "Comet Borisov", None)]})
    assert list(found_by_words(words, "BORISOV")) == ["hst:999"]


def test_index_holds_nothing_of_a_batch_that_failed(words: Catalog) -> None:
    with pytest.raises(RuntimeError), words.transaction():
        words.upsert({"proposal": [proposal(998, "Quaoar", None)]})
        raise RuntimeError
    assert found_by_words(words, "quaoar") == {}
