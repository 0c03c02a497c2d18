"""Short queries: their judgements, their scores on a small index, and the committed table."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import valid_catalog
from search_site import promote, settings_of
from small_dataset import build, make_png

from experiments.short_queries import report
from experiments.short_queries.judgements import drawn_tiles, read_queries
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import SplitAssignment
from hubbleclip.pipeline.index import index
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.search.records import Mode
from hubbleclip.simulator.object_kinds import OBJECT_KINDS
from hubbleclip.simulator.plans import plan_of
from hubbleclip.simulator.proposals import write_proposal

ROOT = Path(__file__).parents[2]
NUM_PROPOSALS = 2 * len(OBJECT_KINDS)
QUERIES = read_queries()


def add_proposal(settings: Settings, number: int) -> None:
    """Write a proposal of the simulated archive with two tiles, whose pictures are simpler than the simulator's."""
    plan, layout = plan_of(settings.simulator, number), Layout(settings.root)
    text = write_proposal(plan)
    proposal = replace(valid_catalog.proposal(plan.number), title=text.title, abstract=text.abstract, cycle=plan.cycle)
    with writing_catalog(layout) as catalog:
        catalog.upsert({"proposal": [proposal]})
        for at in range(2):
            name, tile_id = f"{plan.number}-{at}", f"{plan.number}{at:027x}"
            png = make_png(100 * number + at, number)
            layout.tile(tile_id).parent.mkdir(parents=True, exist_ok=True)
            layout.tile(tile_id).write_bytes(png)
            observed = replace(
                valid_catalog.observation(name),
                proposal_id=proposal.proposal_id,
                is_moving=plan.kind.is_moving,
                target_name=plan.targets[at % len(plan.targets)].name.upper().replace(" ", "-"),
                target_class=f"SIMULATED;{plan.kind.name.upper()}",
            )
            tile = valid_catalog.tile(
                "a",
                tile_id=tile_id,
                obs_id=name,
                proposal_id=proposal.proposal_id,
                png_sha256=sha256_bytes(png),
                path=layout.relative(layout.tile(tile_id)),
                settings_digest=settings.tiles.digest(),
                ra_deg=None,
                product_uri=f"mast:{name}",
                product_sha256=sha256_bytes(name.encode()),
            )
            product = valid_catalog.product(
                f"mast:{name}", obs_id=name, proposal_id=proposal.proposal_id, sha256=tile.product_sha256
            )
            split = SplitAssignment(
                tile_id=tile_id, group_id=plan.number, split="train" if number % 3 else "test", reason=None
            )
            catalog.upsert({"observation": [observed], "product": [product], "tile": [tile], "split": [split]})


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of an indexed profile of the first proposals of the simulated archive."""
    data = tmp_path_factory.mktemp("simulated")
    settings = settings_of(data, evaluation={"bootstrap": 200})
    for number in range(NUM_PROPOSALS):
        add_proposal(settings, number)
    promote(settings, build(data / "dataset", num_groups=8, num_test_groups=3), steps=2)
    index(settings)
    return settings


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


def test_no_query_is_a_phrase_from_which_the_simulator_makes_its_texts() -> None:
    files = [ROOT / f"hubbleclip/simulator/{name}.toml" for name in ("grammar", "vocabulary")]
    phrases = " ".join(path.read_text(encoding="utf-8").lower() for path in files)
    assert "planetary nebula" in phrases
    assert [text for text in QUERIES if re.search(rf"\b{re.escape(text.lower())}", phrases)] == []
    assert set(QUERIES) & set(OBJECT_KINDS) == set()


@pytest.mark.slow
def test_a_tile_is_judged_by_the_kind_and_variant_that_the_simulator_drew(simulated: Settings) -> None:
    with read_catalog(Layout(simulated.root)) as catalog:
        tiles = drawn_tiles(catalog, simulated.simulator)
        facts = {row["tile_id"]: row for row in catalog.rows("FROM tile JOIN observation USING (obs_id)")}
    assert len(tiles) == 2 * NUM_PROPOSALS
    assert {f"SIMULATED;{tile.kind.upper()}" == facts[tile_id]["target_class"] for tile_id, tile in tiles.items()} == {
        True
    }
    assert all(
        tile.kind == "calibration" or tile.variant in OBJECT_KINDS[tile.kind].variants for tile in tiles.values()
    )
    planets = {facts[tile_id]["target_name"]: tile.variant for tile_id, tile in tiles.items() if tile.kind == "planet"}
    assert planets
    assert all(name == variant.upper() for name, variant in planets.items())  # the target of a planet is its variant
    comet = next(tile for tile in tiles.values() if tile.kind == "comet")
    assert comet.gain({"comet": 1, f"comet: {comet.variant}": 3}) == 3
    assert (comet.gain({"comet": 1}), comet.gain({"planet": 3})) == (1, 0)


@pytest.mark.slow
def test_another_archive_is_refused(simulated: Settings, tmp_path: Path) -> None:
    other = simulated.simulator.model_copy(update={"mission": "jwst"})
    with read_catalog(Layout(simulated.root)) as catalog, pytest.raises(HubbleclipError, match="simulated archive"):
        drawn_tiles(catalog, other)
    with pytest.raises(HubbleclipError, match="simulated archive"):
        report.measure(simulated.model_copy(update={"archive": simulated.archive.model_copy(update={"name": "hst"})}))


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
    kinds = [plan_of(simulated.simulator, number).kind.name for number in range(NUM_PROPOSALS)]
    for mode in Mode:
        hits = search.run(SearchParams(q="supernova ejecta", mode=mode, k=10)).hits
        found = [hit.facts["target_class"] == "SIMULATED;SUPERNOVA REMNANT" for hit in hits]
        best = sum(1 / math.log2(rank + 2) for rank in range(kinds.count("supernova remnant")))
        obvious = sum(is_good / math.log2(rank + 2) for rank, is_good in enumerate(found)) / best
        assert scored[report.EVERY][mode.value] == pytest.approx(obvious)
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


@pytest.mark.slow
def test_the_command_writes_its_results_and_the_page(
    simulated: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "docs/search.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- short queries -->\nold\n<!-- end of short queries -->\nafter")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    report.report(tmp_path / "out", report.Options(data=simulated.root.parent, set=("evaluation.bootstrap=100",)))
    results = json.loads((tmp_path / "out" / report.FILE).read_text(encoding="utf-8"))
    assert report.table(results) in page.read_text(encoding="utf-8")
    assert "old" not in page.read_text(encoding="utf-8")


def test_the_docs_have_the_committed_figures_and_no_mode_is_decidedly_better_than_the_default() -> None:
    results = json.loads((ROOT / "docs/demo" / report.FILE).read_text(encoding="utf-8"))
    assert report.table(results) in (ROOT / "docs/search.md").read_text(encoding="utf-8")
    assert [one["text"] for one in results["queries"]] == list(QUERIES)
    default = SearchParams().mode
    for row in results["rows"]:
        for other in set(Mode) - {default}:
            assert row[f"{default} minus {other}"]["high"] > 0, row["name"]
