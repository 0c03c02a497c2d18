"""A dataset that stands already is used again, and is then the one that trainings take."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from commands import files_below
from search_site import add_tiles, settings_of, tile_id_of
from stages import NOW, stage_at
from valid_catalog import make

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.errors import TileFileError
from hubbleclip.core.io import write_text
from hubbleclip.core.records import Dataset
from hubbleclip.dataset.build import PlannedShard
from hubbleclip.dataset.manifest import DESCRIPTION, SPLIT_REPORT, read_dataset, read_description
from hubbleclip.dataset.shard_writer import ShardFile
from hubbleclip.pipeline.engine.runners import RUNNERS, Runner
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.pending_work import newest_dataset
from hubbleclip.pipeline.remote_store import push
from hubbleclip.pipeline.shards import packing_map, reuse_dataset, shards
from hubbleclip.pipeline.status import NEWEST_DATASET

FIRST = Dataset(
    digest="a" * 32,
    inputs_digest="1" * 32,
    path=f"datasets/{'a' * 32}",
    num_samples=1,
    num_shards=1,
    contract_version="1.2.0",
    built_at=NOW,
)
SECOND = replace(FIRST, digest="b" * 32, inputs_digest="2" * 32, path="datasets/b", built_at=NOW + timedelta(days=1))


def test_a_dataset_that_is_found_again_is_the_newest(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"dataset": [FIRST, SECOND]})
        place = stage.layout.absolute(FIRST.path)
        place.mkdir(parents=True)
        (place / DESCRIPTION).touch()
        assert stage.catalog.rows(NEWEST_DATASET)[0]["digest"] == SECOND.digest
        assert reuse_dataset(stage, FIRST.inputs_digest) is not None
        assert stage.catalog.rows(NEWEST_DATASET)[0]["digest"] == FIRST.digest
        stage.catalog.changed = False
        assert reuse_dataset(stage, FIRST.inputs_digest) is not None
        assert not stage.catalog.changed


def test_tiles_that_only_the_store_has_are_packed_from_their_recorded_paths(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "here", store=f"file://{tmp_path}/store", keep_local=False)
    layout, ids = layout_of(settings), [tile_id_of(number, 0) for number in range(4)]
    add_tiles(settings, range(4), range(1))
    jpeg = layout.tile(ids[0]).rename(layout.tile(ids[0], ".jpg"))
    with writing_catalog(layout) as catalog:
        path = layout.relative(jpeg)
        catalog.connection.execute("UPDATE tile SET path = ? WHERE tile_id = ?", [path, ids[0]])
        catalog.changed = True
        push(layout, [row["path"] for row in catalog.rows("FROM tile")])
    shards(settings)
    assert sorted(read_dataset(newest_dataset(layout)).manifest["tile_id"].to_pylist()) == sorted(ids)
    assert files_below(layout.tiles) == []


def test_shards_that_other_machines_pack_come_back_through_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUNNERS, "dask", Runner(RUNNERS["threads"].open, is_separate=False, address="dask_address"))
    flows = {"runner": "dask", "dask_address": "host:1"}

    def pack(shard: PlannedShard) -> ShardFile | TileFileError:
        if shard.path.name == "b.tar":
            return TileFileError(["t"])
        write_text(shard.path, "packed")
        return make(ShardFile, extents={})

    with stage_at(tmp_path / "here", {"store": f"file://{tmp_path}/store", "flows": flows}) as stage:
        there = replace(stage, layout=layout_of(stage.settings))
        planned = [PlannedShard(path=there.layout.root / f"{n}.tar", samples=[], sidecars={}) for n in "ab"]
        packed = packing_map(there, {})(pack, planned)
    assert [type(one) for one in packed] == [ShardFile, TileFileError]
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.tar")] == ["here/demo/a.tar"]


def test_the_report_on_splits_counts_no_damaged_tile(tmp_path: Path) -> None:
    settings, layout = settings_of(tmp_path), layout_of(settings_of(tmp_path))
    add_tiles(settings, range(4), range(2))
    layout.tile(tile_id_of(1, 1)).write_bytes(b"damaged")
    shards(settings)
    described = read_description(newest_dataset(layout))
    assert described["settings_digests"] == {"tiles": settings.tiles.digest(), "splits": settings.splits.digest()}
    total = described[SPLIT_REPORT]["total"]
    assert sum(one["tiles"] for one in total.values()) == 7
