import json
from dataclasses import replace

import pytest
from sky_cases import material, observation, plan_of, proposal, tile

from hubbleclip.config.settings import SplitSettings
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.report import EXCLUDED_TILES, LINKS, leak_summary, lineage, split_report, split_tables

SETTINGS = SplitSettings(val_share=0.1, test_share=0.3)
LEAK = {"num_train": 200, "num_shared_abstract": 150, "num_overlap": 40, "num_moving_target": 3, "num_leaking": 160}
LINKED = [
    Link(one="p0", other=other, reason=reason, detail="a stem")
    for other, reason in (("p1", "title"), ("p2", "title"), ("p1", "number"))
]


def small_split():
    """Six tiles, of which the second last names no instrument and only those of the first proposal have a category."""
    tiles = [tile(i, f"p{i // 2}") for i in range(6)]
    tiles[3], tiles[5] = (replace(tiles[i], instrument="ACS/WFC") for i in (3, 5))
    plans = plan_of(tiles[0], "train") | plan_of(tiles[1], "train") | plan_of(tiles[2], "train", "h")
    plans |= plan_of(tiles[3], "excluded", "h", "sky_guard:overlap") | plan_of(tiles[4], "test", "k")
    return tiles, plans | plan_of(tiles[5], "excluded", "k", "late_link")


def test_the_report_counts_tiles_proposals_and_groups_by_split_category_and_instrument():
    tiles, plans = small_split()
    proposals = {"p0": replace(proposal("p0"), category="STARS"), "p1": proposal("p1")}
    given = material(tiles, {one.obs_id: observation(one.obs_id) for one in tiles[:4]}, proposals)
    report = split_report(given, plans, links=LINKED, leak=LEAK, settings=SETTINGS)
    of = {"tiles": 1, "proposals": 1, "groups": 1}
    expected = {
        "lineage": "random",
        "settings": SETTINGS.recorded(),
        "wanted_share": {"train": 0.6, "val": 0.1, "test": 0.3},
        "total": {
            "excluded": {"tiles": 2, "proposals": 2, "groups": 2, "share": 0.3333},
            "test": of | {"share": 0.1667},
            "train": {"tiles": 3, "proposals": 2, "groups": 2, "share": 0.5},
        },
        "by_category": {
            "STARS": {"train": of | {"tiles": 2, "share": 1.0}},
            "unknown": {
                "excluded": {"tiles": 2, "proposals": 2, "groups": 2, "share": 0.5},
                "test": of | {"share": 0.25},
                "train": of | {"share": 0.25},
            },
        },
        "by_instrument": {
            "ACS/WFC": {"excluded": {"tiles": 2, "proposals": 2, "groups": 2, "share": 1.0}},
            "WFC3/UVIS": {"train": {"tiles": 3, "proposals": 2, "groups": 2, "share": 1.0}},
            "unknown": {"test": of | {"share": 1.0}},
        },
        "excluded": {"late_link": 1, "sky_guard:overlap": 1},
        "links": {"number": 1, "title": 2},
        "random_split_of_tiles": LEAK,
    }
    assert json.dumps(report) == json.dumps(expected)  # plain values, and in this order


@pytest.mark.parametrize("step", [1, -1])
def test_excluded_tiles_and_links_are_listed_whatever_their_order(step):
    tiles, plans = small_split()
    tables = split_tables(tiles[::step], plans, LINKED[::step])
    excluded = {tiles[3].tile_id: ("h", "p1", "sky_guard:overlap"), tiles[5].tile_id: ("k", "p2", "late_link")}
    rows = [tuple(row.values()) for row in tables[EXCLUDED_TILES].to_pylist()]
    assert rows == [(tile_id, *excluded[tile_id]) for tile_id in sorted(excluded)]
    links = [tuple(row.values()) for row in tables[LINKS].to_pylist()]
    assert links == [("p0", *others, "a stem") for others in (("p1", "number"), ("p1", "title"), ("p2", "title"))]


def test_random_splits_are_one_lineage_and_those_of_another_scheme_one_per_settings():
    wanted = SplitSettings(scheme="cycle", test_from_cycle=20)
    assert lineage(SETTINGS.model_copy(update={"val_share": 0.2, "salt": "other", "guard_arcsec": 9.0})) == "random"
    assert lineage(wanted) == f"cycle-{wanted.digest()}"


def test_the_leak_summary_names_each_count():
    assert leak_summary(LEAK) == (
        "a random split of tiles would leak 80% of its 200 train tiles: 150 share an abstract with val or test,"
        " 40 overlap on the sky, 3 show the same moving body"
    )
    assert "leak 0% of its 0 train tiles" in leak_summary(dict.fromkeys(LEAK, 0))
