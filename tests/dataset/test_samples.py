import re
from dataclasses import replace
from itertools import product

import pytest
import valid_catalog
from sky_cases import material, observation, plan_of, proposal, square, tile

from hubbleclip.config.settings import ShardSettings
from hubbleclip.dataset.captions import CAPTION_KINDS
from hubbleclip.dataset.samples import make_samples
from hubbleclip.images.tiling import SATURATED_CORE
from hubbleclip.missions.base import PARALLEL, PRESS

SETTINGS = ShardSettings()


def samples_of(tiles, proposals, *, split="train", observations=None, settings=SETTINGS, **texts):
    """Samples and rejections of tiles; an observation that is not given is one of NGC 1275."""
    seen = {t.obs_id: observation(t.obs_id, t.proposal_id, "NGC1275") for t in tiles} | (observations or {})
    plans = {t.tile_id: plan_of(t, split, "g")[t.tile_id] for t in tiles}
    return make_samples(replace(material(tiles, seen, proposals), **texts), plans, settings)


@pytest.mark.parametrize(
    ("texts", "of_file", "title", "captions"),
    [
        ({}, None, "Title of p", {"abstract": "Abstract of p", "title": "Title of p"}),
        ({}, "Another", "Title of p", {"abstract": "Abstract of p", "title": "Title of p"}),
        ({"abstract": None}, None, "Title of p", {"title": "Title of p"}),
        ({"abstract": None, "source": "header"}, None, "Title of p", {"title": "Title of p"}),
        ({"abstract": None, "source": "header"}, "M31 in F606W", "M31 in F606W", {"title": "M31 in F606W"}),
    ],
)
def test_texts_are_those_of_the_proposal_or_if_it_was_made_from_headers_of_the_file(texts, of_file, title, captions):
    one, of = tile("a", "p"), replace(proposal("p"), **texts)
    seen = {one.obs_id: replace(observation(one.obs_id, "p"), title=of_file)}
    ((sample,), rejections) = samples_of([one], {"p": of}, observations=seen)
    assert dict(zip(sample.caption_kinds, sample.captions, strict=True)) == captions
    assert (sample.title, sample.caption_source) == (title, "header" if "source" in texts else "proposal")
    assert rejections == []


@pytest.mark.parametrize("note", [PARALLEL, f"{PARALLEL}; {SATURATED_CORE}", SATURATED_CORE])
def test_a_parallel_exposure_does_not_have_the_target_of_the_prime_instrument(note):
    one = replace(tile("a", "p"), note=note)
    seen = {one.obs_id: replace(observation(one.obs_id, "p", "M1"), target_class="GALAXY")}
    ((sample,), _) = samples_of([one], {"p": proposal("p")}, observations=seen)
    expected = ("M1", "GALAXY") if note == SATURATED_CORE else (None, None)
    assert (sample.target_name, sample.target_class) == expected


def test_a_caption_may_depend_on_the_observation(monkeypatch):
    monkeypatch.setitem(CAPTION_KINDS, "target", lambda _proposal, observation, *_: observation.target_name)
    tiles = [tile("a", "p", obs_id="o1"), tile("b", "p", obs_id="o2")]
    observations = {name: observation(name, "p", target) for name, target in (("o1", "M31"), ("o2", "M33"))}
    settings = ShardSettings(caption_kinds=("abstract", "target"))
    samples, _ = samples_of(tiles, {"p": proposal("p")}, observations=observations, settings=settings)
    assert {sample.obs_id: sample.captions[1] for sample in samples} == {"o1": "M31", "o2": "M33"}


@pytest.mark.parametrize(
    ("splits", "own"),
    [
        (("train", "test"), "a"),
        (("test", "test"), "ab"),
        (("test", "excluded"), "a"),
        (("test", "val"), ""),
        (("train", "train"), "ab"),
    ],
)
def test_the_text_of_a_press_release_is_in_test_only_if_all_that_it_shows_is(splits, own):
    """Images of a release, up to 2.9 arcminutes from an observation of their programmes; the others are farther."""
    places = {"o1": ("p1", 10.0), "o2": ("p2", 50.0), "o3": ("p2", 50.1), "moving": ("p1", 10.0)}
    images = {
        "hs-2004-32-a": ("p1", 10.0 + 1 / 60),
        "hs-2004-32-bc": ("p2", 50.0 + 2.9 / 60),
        "hs-2004-32-d": ("p1", 10.0 + 2 / 60),
        "hs-2004-33-a": ("p3", 10.0),
    }
    seen = {
        name: replace(
            observation(name, of, is_moving=name == "moving"),
            ra_deg=ra,
            dec_deg=0.0,
            title=f"Press {name}",
            instrument=instrument,
        )
        for some, instrument in ((places, "ACS/WFC"), (images, PRESS))
        for name, (of, ra) in some.items()
    }
    tiles = [tile(name, of, obs_id=name) for name, (of, _) in places.items()]
    plans = {}
    for one, split in zip(tiles, (*splits, "train", "train"), strict=True):
        plans |= plan_of(one, split)
    proposals = {name: proposal(name) for name in ("p1", "p2")}
    samples, _ = make_samples(
        material(tiles, seen, proposals), plans, ShardSettings(caption_kinds=("abstract", "press"))
    )
    found = {sample.obs_id: sample.captions[1] for sample in samples if len(sample.captions) > 1}
    expected = {"a": ("o1", "Press hs-2004-32-a"), "b": ("o2", "Press hs-2004-32-bc")}
    assert found == dict(expected[letter] for letter in own)


def test_tiles_without_a_caption_are_rejected():
    tiles = [tile("a", "p"), tile("b", "unknown")]
    proposals = {"p": replace(proposal("p"), abstract=None)}
    settings = ShardSettings(caption_kinds=("abstract",))
    samples, rejections = samples_of(tiles, proposals, settings=settings)
    assert samples == []
    assert {(r.entity, r.entity_id, r.stage, r.reason, r.detail) for r in rejections} == {
        ("tile", t.tile_id, "shards", "no_caption", f"proposal {t.proposal_id} has no abstract") for t in tiles
    }
    assert {r.settings_digest for r in rejections} == {settings.digest()}


def test_excluded_tiles_are_neither_samples_nor_rejections():
    one = tile("a", "p")
    assert samples_of([one], {"p": proposal("p")}, split="excluded") == ([], [])


def test_samples_are_sorted_by_tile():
    tiles = [tile(i, "p") for i in range(9)]
    samples, _ = samples_of(tiles, {"p": proposal("p")})
    assert [s.tile_id for s in samples] == sorted(t.tile_id for t in tiles)


@pytest.mark.parametrize(("of_tile", "of_archive"), list(product([None, "T"], [None, "A"])))
def test_instrument_and_filter_are_those_of_the_tile_and_else_of_the_archive(of_tile, of_archive):
    one = replace(tile("a", "p"), instrument=of_tile, filter=of_tile)
    seen = replace(observation(one.obs_id, "p"), instrument=of_archive, filters=of_archive)
    (sample,), _ = samples_of([one], {"p": proposal("p")}, observations={one.obs_id: seen})
    assert (sample.instrument, sample.filter) == (of_tile or of_archive,) * 2


def distinct(record, number, *names):
    """The record with values of their own in some columns."""
    kinds = {float: lambda i: number + i / 100, int: lambda i: number * 100 + i}
    old = {name: getattr(record, name) for name in names}
    return replace(
        record, **{name: kinds.get(type(old[name]), lambda i: f"text {number} {i}")(i) for i, name in enumerate(names)}
    )


OF_TILE = (
    "product_uri;product_sha256;png_sha256;chip;y0;x0;ra_deg;dec_deg;pixel_scale_arcsec;valid_share;unit;black;white;"
    "softening;view;shrink;wcs;instrument;filter"
)


def test_each_field_of_a_sample_has_the_value_of_its_source():
    names_of_tile = re.findall(r"[^;]+", OF_TILE)
    one = distinct(replace(tile("a", "p", square(5, 6, 20)), ra_deg=1.0, dec_deg=1.0), 2, *names_of_tile)
    seen = distinct(observation(one.obs_id, "p", "M1", is_moving=True), 3, "target_class", "instrument", "filters")
    of = distinct(replace(proposal("p"), cycle=7), 4, "archive", "category", "pi", "cycle", "title")
    plans = plan_of(one, "val", "h")
    (sample,), _ = make_samples(material([one], {one.obs_id: seen}, {"p": of}), plans, SETTINGS)
    sources = [
        (one, ["tile_id", "corners_deg", *names_of_tile]),
        (seen, ["obs_id", "target_name", "target_class", "is_moving"]),
        (of, ["proposal_id", "archive", "category", "title", "pi", "cycle"]),
        (plans[one.tile_id], ["split", "group_id"]),
    ]
    for source, names in sources:
        assert {name: getattr(sample, name) for name in names} == {name: getattr(source, name) for name in names}


def test_samples_have_what_was_written_about_the_abstract_of_their_own_proposal():
    tiles = [tile("a", "p"), tile("b", "q")]
    about = {who: valid_catalog.summary("a", summary=f"About {who}", writer="w") for who in "pq"}
    settings = ShardSettings(caption_kinds=("abstract", "summary"))
    summaries = {who: {"": written} for who, written in about.items()}
    samples, _ = samples_of(tiles, {p: proposal(p) for p in "pq"}, settings=settings, summaries=summaries)
    found = {sample.proposal_id: (sample.caption_kinds, sample.captions) for sample in samples}
    assert found == {who: (["abstract", "summary@w"], [f"Abstract of {who}", f"About {who}"]) for who in "pq"}
