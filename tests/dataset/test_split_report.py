import json
from dataclasses import replace

import pytest
from sky_cases import material, observation, proposal, tile

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import SplitAssignment
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.report import EXCLUDED_TILES, LINKS, leak_summary, lineage, split_report, split_tables

SETTINGS = SplitSettings()
LEAK = {"num_train": 200, "num_shared_abstract": 150, "num_overlap": 40, "num_moving_target": 3, "num_leaking": 160}
LINK = Link(one="p0", other="p1", reason="title", detail="a stem")


def plan(one, split, group="g", reason=None):
    return SplitAssignment(tile_id=one.tile_id, group_id=group, split=split, reason=reason)


def small_split():
    """Four tiles: two of WFC3 in train, one in test, one of ACS excluded."""
    tiles = [tile(i, f"p{i // 2}") for i in range(4)]
    tiles[3] = replace(tiles[3], instrument="ACS/WFC")
    proposals = {"p0": replace(proposal("p0"), category="STARS"), "p1": proposal("p1")}
    observations = {t.obs_id: observation(t.obs_id) for t in tiles}
    plans = [plan(tiles[0], "train"), plan(tiles[1], "train"), plan(tiles[2], "test", "h")]
    plans.append(plan(tiles[3], "excluded", "h", "sky_guard:overlap"))
    return tiles, observations, proposals, {p.tile_id: p for p in plans}


def reported():
    tiles, observations, proposals, plans = small_split()
    return split_report(material(tiles, observations, proposals), plans, links=[LINK], leak=LEAK, settings=SETTINGS)


def test_the_report_counts_tiles_proposals_and_groups_of_each_split():
    assert reported()["total"] == {
        "excluded": {"tiles": 1, "proposals": 1, "groups": 1, "share": 0.25},
        "test": {"tiles": 1, "proposals": 1, "groups": 1, "share": 0.25},
        "train": {"tiles": 2, "proposals": 1, "groups": 1, "share": 0.5},
    }


def test_the_report_is_stratified_by_category_and_instrument():
    report = reported()
    assert report["by_category"]["STARS"]["train"]["share"] == 1.0
    assert set(report["by_category"]["unknown"]) == {"test", "excluded"}
    assert set(report["by_instrument"]["ACS/WFC"]) == {"excluded"}
    assert report["by_instrument"]["WFC3/UVIS"]["train"]["tiles"] == 2


def test_strata_sum_up_to_the_total():
    report = reported()
    for name in ("by_category", "by_instrument"):
        for split, total in report["total"].items():
            assert sum(value.get(split, {"tiles": 0})["tiles"] for value in report[name].values()) == total["tiles"]


def test_the_report_is_plain_json_with_reasons_links_leak_and_wanted_shares():
    report = json.loads(json.dumps(reported()))
    assert report["excluded"] == {"sky_guard:overlap": 1}
    assert report["links"] == {"title": 1}
    assert report["random_split_of_tiles"]["num_leaking"] == 160
    assert report["wanted_share"] == {"train": 0.9, "val": 0.05, "test": 0.05}


def test_excluded_tiles_are_listed_with_their_reason():
    tiles, _, _, plans = small_split()
    (row,) = split_tables(tiles, plans, [LINK])[EXCLUDED_TILES].to_pylist()
    assert row == {
        "tile_id": tiles[3].tile_id,
        "group_id": "h",
        "proposal_id": "p1",
        "reason": "sky_guard:overlap",
    }


def test_each_link_is_listed_with_its_reason():
    tiles, _, _, plans = small_split()
    assert split_tables(tiles, plans, [LINK])[LINKS].to_pylist() == [
        {"one": "p0", "other": "p1", "reason": "title", "detail": "a stem"}
    ]


@pytest.mark.parametrize("change", [{"val_share": 0.2}, {"salt": "other"}, {"guard_arcsec": 9.0}])
def test_random_splits_are_one_lineage(change):
    assert lineage(SETTINGS.model_copy(update=change)) == lineage(SETTINGS)


def test_proposals_and_groups_of_a_split_are_counted_apart():
    tiles = [tile(i, f"p{i}") for i in range(3)]
    plans = {p.tile_id: p for p in (plan(tiles[0], "train"), plan(tiles[1], "train"), plan(tiles[2], "train", "h"))}
    report = split_report(material(tiles, {}, {}), plans, links=[], leak=LEAK, settings=SETTINGS)
    assert report["total"] == {"train": {"tiles": 3, "proposals": 3, "groups": 2, "share": 1.0}}


def test_the_tables_do_not_depend_on_the_order_of_tiles_and_links():
    tiles, _, _, plans = small_split()
    plans |= {tiles[0].tile_id: replace(plans[tiles[0].tile_id], split="excluded", reason="late_link")}
    links = [LINK, replace(LINK, other="p2"), replace(LINK, reason="text")]
    one, other = (split_tables(tiles[::step], plans, links[::step]) for step in (1, -1))
    assert one[EXCLUDED_TILES].equals(other[EXCLUDED_TILES]) and one[LINKS].equals(other[LINKS])
    assert one[EXCLUDED_TILES]["tile_id"].to_pylist() == sorted((tiles[0].tile_id, tiles[3].tile_id))


def test_the_leak_summary_names_each_count():
    assert leak_summary(LEAK) == (
        "a random split of tiles would leak 80% of its 200 train tiles: 150 share an abstract with val or test,"
        " 40 overlap on the sky, 3 show the same moving body"
    )


def test_the_wanted_shares_are_those_of_their_splits():
    given = material([tile("a", "p")], {}, {})
    plans = {given.tiles[0].tile_id: plan(given.tiles[0], "train")}
    wanted = SETTINGS.model_copy(update={"val_share": 0.1, "test_share": 0.3})
    report = split_report(given, plans, links=[], leak=LEAK, settings=wanted)
    assert report["wanted_share"] == {"train": 0.6, "val": 0.1, "test": 0.3}


def test_a_leak_without_train_tiles_is_described():
    assert "leak 0% of its 0 train tiles" in leak_summary(dict.fromkeys(LEAK, 0))


def test_tables_without_rows_have_their_columns():
    tables = split_tables([], {}, [])
    assert tables[EXCLUDED_TILES].schema.names == ["tile_id", "group_id", "proposal_id", "reason"]
    assert tables[LINKS].schema.names == ["one", "other", "reason", "detail"]
    assert {str(kind) for table in tables.values() for kind in table.schema.types} == {"string"}


def test_the_lineage_of_another_scheme_is_its_name_and_the_digest_of_its_settings():
    wanted = SplitSettings(scheme="cycle", test_from_cycle=20)
    assert (lineage(wanted), lineage(SETTINGS)) == (f"cycle-{wanted.digest()}", "random")


def test_values_splits_and_reasons_are_reported_in_order_and_shares_to_four_digits():
    tiles = [replace(tile(i, "p"), instrument=name) for i, name in enumerate(("WFPC2", "ACS", None))]
    plans = [plan(one, *to) for one, to in zip(tiles, (("val",), ("train",), ("test",)), strict=True)]
    lost = [tile("x", "q"), tile("y", "q")]
    plans += [plan(one, "excluded", reason=reason) for one, reason in zip(lost, ("z", "a"), strict=True)]
    report = split_report(
        material([*tiles, *lost], {}, {}),
        {one.tile_id: one for one in plans},
        links=[LINK, replace(LINK, reason="number")],
        leak=LEAK,
        settings=SETTINGS,
    )
    assert list(report["by_instrument"]) == ["ACS", "WFPC2", "unknown"]
    assert list(report["by_instrument"]["unknown"]) == ["excluded", "test"]
    assert report["by_instrument"]["unknown"]["test"]["share"] == 0.3333
    assert (list(report["excluded"]), list(report["links"])) == (["a", "z"], ["number", "title"])
