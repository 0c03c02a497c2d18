from dataclasses import replace

from sky_cases import material, observation, proposal, square, tile

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.captions import make_captions
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
    assert sample.captions == [c.text for c in make_captions(proposal("p"), SETTINGS.caption_kinds)]


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


def test_a_sample_of_a_proposal_says_so_and_keeps_its_title():
    one = tile("a", "p", obs_id="o1")
    (sample,), _ = make_samples(
        material([one], {"o1": replace(observation("o1", "p"), title="Another")}, {"p": proposal("p")}),
        assigned([one]), SETTINGS,
    )  # fmt: skip
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
