"""Short queries: their judgements, their scores on a small index, and the committed table."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from commands import settings_at

from experiments.short_queries import report
from experiments.short_queries.judgements import drawn_tiles, read_queries
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.search.records import Mode
from hubbleclip.simulator.object_kinds import OBJECT_KINDS

ROOT = Path(__file__).parents[2]
QUERIES = read_queries()


@pytest.fixture(scope="module")
def simulated(finished_demo: Path) -> Settings:
    """Settings of a small demo, which has a proposal of every kind."""
    return settings_at(finished_demo)


def test_forty_short_queries_ask_for_every_kind_of_object_in_pairs() -> None:
    assert len(QUERIES) == 40
    assert all(len(text.split()) <= 4 for text in QUERIES)
    known = {*OBJECT_KINDS, *(f"{name}: {variant}" for name, kind in OBJECT_KINDS.items() for variant in kind.variants)}
    wanted = [{name.partition(":")[0] for name, gain in gains.items() if gain == 3} for gains in QUERIES.values()]
    assert all(wanted)
    assert {name for gains in QUERIES.values() for name in gains} <= known
    assert {gain for gains in QUERIES.values() for gain in gains.values()} == {1, 2, 3}
    for half in (wanted[::2], wanted[1::2]):
        assert set().union(*half) == set(OBJECT_KINDS)


@pytest.mark.slow
def test_a_tile_is_judged_by_the_kind_and_variant_that_the_simulator_drew(simulated: Settings) -> None:
    with read_catalog(Layout(simulated.root)) as catalog:
        tiles = drawn_tiles(catalog, simulated.simulator)
        facts = {row["tile_id"]: row for row in catalog.rows("FROM tile JOIN observation USING (obs_id)")}
    assert {tile_id: f"SIMULATED;{tile.kind.upper()}" for tile_id, tile in tiles.items()} == {
        tile_id: row["target_class"] for tile_id, row in facts.items()
    }
    assert all(tile.variant in OBJECT_KINDS[tile.kind].variants for tile in tiles.values())
    planets = {facts[tile_id]["target_name"]: tile.variant for tile_id, tile in tiles.items() if tile.kind == "planet"}
    assert planets
    assert all(name == variant.upper() for name, variant in planets.items())  # the target of a planet is its variant
    comet = next(tile for tile in tiles.values() if tile.kind == "comet")
    assert comet.gain({"comet": 1, f"comet: {comet.variant}": 3}) == 3
    assert (comet.gain({"comet": 1}), comet.gain({"planet": 3})) == (1, 0)


def test_ndcg_of_graded_gains() -> None:
    possible = [0, 1, 3, 0, 2]
    assert report.ndcg([3, 2, 1, 0], possible) == pytest.approx(1)
    assert report.ndcg([], possible) == 0
    best = 3 + 2 / math.log2(3) + 1 / 2
    assert report.ndcg([0, 3, 0, 1], possible) == pytest.approx((3 / math.log2(3) + 1 / math.log2(5)) / best)
    assert report.ndcg([0] * 10 + [3], possible) == 0  # the first ten count
    assert report.ndcg([1] * 12, [1] * 30) == pytest.approx(1)


@pytest.mark.slow
def test_a_query_is_scored_by_the_first_ten_proposals_of_each_mode(simulated: Settings) -> None:
    results = report.measure(simulated)
    assert [one["text"] for one in results["queries"]] == list(QUERIES)
    search = Search.open(simulated)
    scored = next(one for one in results["queries"] if one["text"] == "supernova ejecta")
    for mode in Mode:
        hits = search.run(SearchParams(q="supernova ejecta", mode=mode, k=10)).hits
        found = [hit.facts["target_class"] == "SIMULATED;SUPERNOVA REMNANT" for hit in hits]
        # one proposal is right: the best gain is 1
        assert scored[report.EVERY][mode.value] == pytest.approx(
            sum(np.array(found) / np.log2(np.arange(len(found)) + 2))
        )
    assert [row["num_queries"] for row in results["rows"][:3]] == [40, 20, 20]
    in_test = [one[report.TEST] for one in results["queries"] if one[report.TEST]]
    assert results["rows"][-1]["num_queries"] == len(in_test) < 40  # no tile of the split test answers the others
    assert all(0 <= score <= 1 for scores in in_test for score in scores.values())


def test_intervals_are_paired_and_hold_the_mean() -> None:
    scores = [{"model": 0.1 * n, "words": 0.1 * n, "both": 0.1 * n + 0.05} for n in range(10)]
    columns = report.intervals(scores, 500)
    assert columns["model"]["value"] == pytest.approx(0.45)
    assert columns["model"]["low"] < 0.45 < columns["model"]["high"]
    assert columns["both minus words"] == {"value": 0.05, "low": 0.05, "high": 0.05}  # every query has this difference


def test_the_docs_have_the_committed_figures_and_no_mode_is_decidedly_better_than_the_default() -> None:
    results = json.loads((ROOT / "docs/demo" / report.FILE).read_text(encoding="utf-8"))
    assert report.table(results) in (ROOT / "docs/search.md").read_text(encoding="utf-8")
    assert [one["text"] for one in results["queries"]] == list(QUERIES)
    default = SearchParams().mode
    for row in results["rows"]:
        for other in set(Mode) - {default}:
            assert row[f"{default} minus {other}"]["high"] > 0, row["name"]
