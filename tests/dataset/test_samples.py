import re
from dataclasses import replace
from itertools import product

import pytest
import valid_catalog
from sky_cases import material, observation, proposal, square, tile

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.captions import CAPTION_KINDS, make_captions
from hubbleclip.dataset.samples import make_samples

SETTINGS = ShardSettings()


def assigned(tiles, split="train"):
    return {t.tile_id: SplitAssignment(tile_id=t.tile_id, group_id="g", split=split, reason=None) for t in tiles}


def make(tiles, proposals, assignments, settings=SETTINGS):
    observations = {t.obs_id: observation(t.obs_id, t.proposal_id, "NGC1275") for t in tiles}
    return make_samples(material(tiles, observations, proposals), assignments, settings)


def test_a_sample_joins_tile_observation_proposal_and_split():
    one = tile("a", "p", square(5, 5, 20))
    (sample,), rejections = make([one], {"p": proposal("p")}, assigned([one], "val"))
    assert (sample.tile_id, sample.split, sample.group_id, sample.proposal_id) == (one.tile_id, "val", "g", "p")
    assert (sample.target_name, sample.filter, sample.instrument) == ("NGC1275", "F606W", "WFC3/UVIS")
    assert (sample.corners_deg, sample.png_sha256) == (one.corners_deg, one.png_sha256)
    assert (sample.caption_kinds, sample.captions) == (["abstract", "title"], ["Abstract of p", "Title of p"])
    assert rejections == []


def test_captions_are_those_of_the_catalog():
    one = tile("a", "p")
    (sample,), _ = make([one], {"p": proposal("p")}, assigned([one]))
    assert sample.captions == list(make_captions(proposal("p"), SETTINGS.caption_kinds).values())


def test_without_an_abstract_the_title_is_the_main_caption():
    one = tile("a", "p")
    (sample,), _ = make([one], {"p": replace(proposal("p"), abstract=None)}, assigned([one]))
    assert (sample.caption_kinds, sample.captions) == (["title"], ["Title of p"])


def test_without_a_proposal_each_sample_has_the_title_of_its_own_file():
    tiles = [tile("a", "p", obs_id="o1"), tile("b", "p", obs_id="o2")]
    titles = {"o1": "M31 in F606W", "o2": "M33 in F814W"}
    observations = {name: replace(observation(name, "p"), title=title) for name, title in titles.items()}
    made = replace(proposal("p"), abstract=None, title=titles["o1"], source="header")
    samples, _ = make_samples(material(tiles, observations, {"p": made}), assigned(tiles), SETTINGS)
    found = {sample.obs_id: (sample.title, sample.captions, sample.caption_source) for sample in samples}
    assert found == {name: (title, [title], "header") for name, title in titles.items()}


def test_a_caption_may_depend_on_the_observation(monkeypatch):
    monkeypatch.setitem(CAPTION_KINDS, "target", lambda _proposal, observation, _written: observation.target_name)
    tiles = [tile("a", "p", obs_id="o1"), tile("b", "p", obs_id="o2")]
    observations = {name: observation(name, "p", target) for name, target in (("o1", "M31"), ("o2", "M33"))}
    settings = ShardSettings(caption_kinds=("abstract", "target"))
    samples, _ = make_samples(material(tiles, observations, {"p": proposal("p")}), assigned(tiles), settings)
    assert {sample.obs_id: sample.captions[1] for sample in samples} == {"o1": "M31", "o2": "M33"}


def test_a_sample_of_a_proposal_says_so_and_keeps_its_title():
    one = tile("a", "p", obs_id="o1")
    (sample,), _ = make_samples(
        material([one], {"o1": replace(observation("o1", "p"), title="Another")}, {"p": proposal("p")}),
        assigned([one]),
        SETTINGS,
    )
    assert (sample.title, sample.caption_source) == ("Title of p", "proposal")


def test_tiles_without_a_caption_are_rejected():
    tiles = [tile("a", "p"), tile("b", "unknown")]
    proposals = {"p": replace(proposal("p"), abstract=None)}
    settings = ShardSettings(caption_kinds=("abstract",))
    samples, rejections = make(tiles, proposals, assigned(tiles), settings)
    assert samples == []
    assert {(r.entity, r.entity_id, r.stage, r.reason) for r in rejections} == {
        ("tile", t.tile_id, "shards", "no_caption") for t in tiles
    }
    assert {r.settings_digest for r in rejections} == {settings.digest()}


def test_excluded_tiles_are_neither_samples_nor_rejections():
    one = tile("a", "p")
    assert make([one], {"p": proposal("p")}, assigned([one], "excluded")) == ([], [])


def test_samples_are_sorted_by_tile():
    tiles = [tile(i, "p") for i in range(9)]
    samples, _ = make(tiles, {"p": proposal("p")}, assigned(tiles))
    assert [s.tile_id for s in samples] == sorted(t.tile_id for t in tiles)


@pytest.mark.parametrize(("of_tile", "of_archive"), list(product([None, "T"], [None, "A"])))
def test_instrument_and_filter_are_those_of_the_tile_and_else_of_the_archive(of_tile, of_archive):
    one = replace(tile("a", "p"), instrument=of_tile, filter=of_tile)
    seen = replace(observation(one.obs_id, "p"), instrument=of_archive, filters=of_archive)
    (sample,), _ = make_samples(material([one], {one.obs_id: seen}, {"p": proposal("p")}), assigned([one]), SETTINGS)
    assert (sample.instrument, sample.filter) == (of_tile or of_archive,) * 2


def test_each_field_of_a_sample_has_the_value_of_its_source():
    one = replace(
        tile("a", "p", square(5, 6, 20)),
        product_uri="uri",
        product_sha256="1" * 64,
        png_sha256="2" * 64,
        chip=3,
        y0=4,
        x0=5,
        ra_deg=6.5,
        dec_deg=7.5,
        pixel_scale_arcsec=0.8,
        valid_share=0.9,
        unit="MJy",
        black=1.5,
        white=2.5,
        softening=3.5,
        view="aim",
        shrink=4.5,
        wcs="WCSAXES",
        instrument="ACS/WFC",
        filter="F814W",
    )
    seen = replace(
        observation(one.obs_id, "p", "M1", is_moving=True), target_class="NEBULA", instrument="x", filters="y"
    )
    of = replace(proposal("p"), archive="jwst", category="STARS", pi="A. Able", cycle=7, title="Crabs")
    plan = replace(assigned([one], "val")[one.tile_id], group_id="h")
    (sample,), _ = make_samples(material([one], {one.obs_id: seen}, {"p": of}), {one.tile_id: plan}, SETTINGS)
    sources = [
        (
            one,
            re.findall(
                r"[^;]+",
                "tile_id;product_uri;product_sha256;png_sha256;chip;y0;x0;ra_deg;dec_deg;corners_deg;"
                "pixel_scale_arcsec;valid_share;unit;black;white;softening;view;shrink;wcs;instrument;filter",
            ),
        ),
        (seen, ("obs_id", "target_name", "target_class", "is_moving")),
        (of, ("proposal_id", "archive", "category", "title", "pi", "cycle")),
        (plan, ("split", "group_id")),
    ]
    for source, names in sources:
        assert {name: getattr(sample, name) for name in names} == {name: getattr(source, name) for name in names}


def test_a_file_without_a_title_has_that_of_the_proposal_from_headers():
    one = tile("a", "p", obs_id="o1")
    made = replace(proposal("p"), abstract=None, title="M31 in F606W", source="header")
    (sample,), _ = make_samples(material([one], {"o1": observation("o1", "p")}, {"p": made}), assigned([one]), SETTINGS)
    assert (sample.title, sample.captions) == ("M31 in F606W", ["M31 in F606W"])


def test_samples_have_what_was_written_about_the_abstract_of_their_own_proposal():
    tiles = [tile("a", "p"), tile("b", "q")]
    about = {who: valid_catalog.summary("a", summary=f"About {who}", writer="w") for who in "pq"}
    given = replace(
        material(
            tiles, {t.obs_id: observation(t.obs_id, t.proposal_id) for t in tiles}, {p: proposal(p) for p in "pq"}
        ),
        summaries={who: {"": written} for who, written in about.items()},
    )
    samples, _ = make_samples(given, assigned(tiles), ShardSettings(caption_kinds=("abstract", "summary")))
    found = {sample.proposal_id: (sample.caption_kinds, sample.captions) for sample in samples}
    assert found == {who: (["abstract", "summary@w"], [f"Abstract of {who}", f"About {who}"]) for who in "pq"}
