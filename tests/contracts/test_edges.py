"""Between stages: rows that break their contract are rejected with the name of the rule, the others pass."""

from dataclasses import replace
from pathlib import Path

import pytest
from valid_catalog import broken_rules, hex_of, product, product_version, promotion, tile, valid_rows

from hubbleclip.catalog.pending import pending_fetch
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.contracts.validation import reject_broken_rows, whole
from hubbleclip.core.errors import ContractError, HubbleclipError
from hubbleclip.core.records import Record
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.stage import Stage, open_stage
from hubbleclip.pipeline.evaluate import promote
from hubbleclip.pipeline.ingest.fetch import write_fetched
from hubbleclip.pipeline.tiles.run import cutting

DIGEST = hex_of("d", 16)


def validated(batch: dict[str, list[Record]], item: str = "product") -> dict[str, list[Record]]:
    return reject_broken_rows(batch, "tiles", item, DIGEST)


def reasons(batch: dict[str, list[Record]]) -> dict[tuple[str, str], str]:
    return {(r.entity, r.entity_id): r.reason for r in batch["rejection"]}


def test_what_the_stage_rejected_itself_stays_but_of_one_item_the_broken_rule_counts() -> None:
    known = valid_rows()["rejection"]
    same = replace(known[0], entity="tile", entity_id=hex_of("2", 32), stage="tiles", reason="small")
    batch = validated({"tile": [tile("1"), tile("2", ra_deg=-1.0)], "rejection": [*known, same]})
    assert len(batch["rejection"]) == len(known) + 1
    assert reasons(batch)["tile", same.entity_id] == "contract:tile.ra_deg.minimum"


def test_rows_that_are_only_usable_together_are_refused_together() -> None:
    rows = valid_rows()
    assert whole({"shard": rows["shard"]}) == {"shard": rows["shard"]}
    with pytest.raises(ContractError, match=r"table shard, row .*breaks shard.size_bytes.minimum: size_bytes is 0"):
        whole({"shard": [replace(rows["shard"][0], size_bytes=0)]})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings("demo", {"data": str(tmp_path)})


def begin(stage: Stage, *tables: str) -> None:
    stage.catalog.upsert({name: valid_rows()[name] for name in ("proposal", "observation", *tables)})


def count(stage: Stage, table: str) -> int:
    return stage.catalog.counts()[table]


def test_a_fetched_file_that_breaks_its_contract_leaves_no_orphans_and_is_not_fetched_again(settings: Settings) -> None:
    listed = product(
        "mast:p1", sha256=None, path=None, version=None, fetched_at=None, fetched_version=None, source=None
    )
    with open_stage("ingest", settings) as stage:
        begin(stage)
        stage.catalog.upsert({"product": [listed]})
        bad = product("mast:p1", path=None, source="tape")
        batch = {"product": [bad], "product_version": [product_version(1)], "tile": [tile("1")]}
        write_fetched(stage, reject_broken_rows(batch, "fetch", "product", settings.archive.digest()))
        assert (count(stage, "product_version"), count(stage, "tile"), count(stage, "rejection")) == (0, 0, 3)
        assert pending_fetch(stage.catalog, settings) == []
        assert broken_rules(stage.catalog.query) == []


def test_bad_rows_of_a_task_count_among_what_is_left_out(settings: Settings) -> None:
    with open_stage("tiles", settings) as stage:
        with pytest.raises(HubbleclipError, match="2 of 1 items were rejected"):
            bad = {"tile": [tile("1", valid_share=1.5)]}
            run_batches(stage, cutting(settings.tiles), lambda _: bad, [product("mast:p1")], total=1)
        assert (count(stage, "tile"), count(stage, "rejection"), stage.rejected) == (0, 2, 2)


def test_a_decision_that_breaks_its_contract_promotes_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(promotion("r1", None, None), metric="")
    monkeypatch.setattr("hubbleclip.pipeline.evaluate.compare_on_val", lambda *_: broken)
    with open_stage("evaluate", settings) as stage:
        assert promote(stage, settings.root, Path("r1")) is None
        assert (count(stage, "promotion"), count(stage, "rejection")) == (0, 1)
