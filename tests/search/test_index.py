"""The stage `index`: what is embedded, runs that are killed or run twice at once, and damaged files."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_site import IDS, NOW, add_tiles, promote, settings_of, tile_id_of
from small_dataset import build

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.pending import pending_tiles
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import EvaluationError, HubbleclipError, SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.manifest import description_bytes
from hubbleclip.pipeline import index as stage
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.remote_store import push
from hubbleclip.search.embedding import QueryModel
from hubbleclip.search.engine import Search
from hubbleclip.search.open_index import CurrentIndex, open_store, read_current, write_current
from hubbleclip.search.params import SearchParams
from hubbleclip.search.stores.base import VectorStore
from hubbleclip.training.checkpoints import model_digest


def opened(settings: Settings) -> tuple[CurrentIndex, VectorStore]:
    layout = Layout(settings.root)
    current = read_current(layout)
    return current, open_store(layout, current.model_digest)


def files_of(settings: Settings) -> dict[str, bytes]:
    folder = Layout(settings.root).index
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stamps_of(settings: Settings) -> dict[str, tuple[int, int]]:
    folder = Layout(settings.root).index
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_every_current_tile_is_indexed_by_the_promoted_model(site: Settings) -> None:
    current, store = opened(site)
    run_dir = Layout(site.root).absolute(current.run)
    assert current.model_digest == model_digest(run_dir)
    with read_catalog(Layout(site.root)) as catalog:
        tiles = {row["tile_id"]: row["path"] for row in catalog.rows("SELECT tile_id, path FROM tile")}
    assert store.tile_ids.to_pylist() == sorted(tiles)
    model = QueryModel(run_dir)
    some = store.tile_ids.to_pylist()[::7]
    images = [model.decode((site.root / tiles[tile_id]).read_bytes()) for tile_id in some]
    np.testing.assert_allclose(store.features(range(0, len(tiles), 7)), model.embed_images(images), atol=2e-3)


def test_a_second_run_changes_no_file_and_new_tiles_alone_are_embedded(
    own_index: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stamps_of(own_index)
    (Layout(own_index.root).index / ".current.json.1-2.tmp").touch()  # of a process that was killed
    stage.index(own_index)
    assert stamps_of(own_index) == before
    add_tiles(own_index, range(2), range(6, 8))
    seen: list[str] = []
    embed = stage.embed_batch
    monkeypatch.setattr(
        stage,
        "embed_batch",
        lambda batch, **more: seen.extend(one.tile_id for one in batch) or embed(batch, **more),
    )
    stage.index(own_index)
    assert sorted(seen) == sorted(tile_id_of(proposal, number) for proposal in range(2) for number in (6, 7))
    assert len(opened(own_index)[1].tile_ids) == 52


def test_a_killed_run_keeps_what_it_has_written_and_the_next_makes_the_same_files(
    own_site: Settings, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = stage.embed_batch

    def failing(batch: Sequence[stage.StoredTile], **more: Any) -> object:
        if sorted(IDS)[30] in {tile.tile_id for tile in batch}:
            raise HubbleclipError("killed")
        return embed(batch, **more)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "embed_batch", failing)
        with pytest.raises(HubbleclipError, match="killed"):
            stage.index(own_site, batch_size=8, append_rows=16)
    layout = Layout(own_site.root)
    (folder,) = [path for path in layout.index.iterdir() if path.is_dir()]
    kept = open_store(layout, folder.name).tile_ids.to_pylist()
    assert 0 < len(kept) < 48
    assert not layout.current_index.exists()  # no search answers from half an index
    undisturbed = settings_of(shutil.copytree(made, tmp_path / "undisturbed"), flows={"workers": 4})
    for settings in (own_site, undisturbed):
        stage.index(settings, batch_size=8, append_rows=16)
    assert files_of(own_site) == files_of(undisturbed)
    assert opened(own_site)[1].tile_ids.to_pylist() == sorted(IDS)


def test_damaged_tiles_are_not_indexed_and_their_products_are_pending_again(
    own_site: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout(own_site.root)
    layout.tile(tile_id_of(0, 0)).write_bytes(b"no picture")
    layout.tile(tile_id_of(0, 1)).unlink()
    layout.tile(tile_id_of(0, 2)).write_bytes(layout.tile(tile_id_of(0, 3)).read_bytes())
    stage.index(own_site)
    assert len(opened(own_site)[1].tile_ids) == 45
    with read_catalog(layout) as catalog:
        assert sorted(pending_tiles(catalog, own_site)) == ["mast:0-0", "mast:0-1", "mast:0-2"]
    assert "3 tiles are not used" in caplog.text
    add_tiles(own_site, range(1), range(3))  # cut again, and then only in a store
    stored = own_site.model_copy(update={"store": f"file://{layout.root.parent}/store", "keep_local": False})
    push(layout_of(stored), [layout.relative(layout.tile(tile_id_of(0, number))) for number in range(3)])
    stage.index(stored)
    assert len(opened(own_site)[1].tile_ids) == 48


@pytest.mark.slow
def test_a_newly_promoted_model_gets_an_index_of_its_own(own_site: Settings, tmp_path: Path) -> None:
    stage.index(own_site)
    first, old = opened(own_site)
    promote(own_site, build(tmp_path / "dataset", num_groups=8, num_test_groups=3), 6, at=NOW + timedelta(days=1))
    stage.index(own_site)
    second, new = opened(own_site)
    assert second.model_digest != first.model_digest
    assert new.tile_ids.equals(old.tile_ids)
    assert not np.allclose(new.features([0]), old.features([0]), atol=1e-3)


def test_without_a_promoted_run_nothing_is_indexed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_of(tmp_path)
    add_tiles(settings, range(1), range(1))
    with pytest.raises(EvaluationError, match="hubbleclip pipeline"):
        stage.index(settings)
    stage.index_promoted(settings)
    assert "nothing is indexed" in caplog.text
    assert not Layout(settings.root).index.exists()


QUERY = SearchParams(q="galaxy", k=5)


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_a_damaged_index_is_one_line_and_the_old_one_answers_where_it_is_open(own_index: Settings) -> None:
    search = Search.open(own_index)
    expected = search.run(QUERY).hits
    add_tiles(own_index, range(2), range(6, 7))
    stage.index(own_index)
    for pattern in ("current.json", "*/index.json", "*/*.f16", "*/*.i8", "*/*.parquet"):
        path = max(Layout(own_index.root).index.glob(pattern))  # of the segments, the new one
        content = path.read_bytes()
        places = (min(100, len(content) // 2), len(content) - 9)  # among ids, features or codes, and at the end
        for damaged in (*(flipped(content, place) for place in places), content[:-9], b"", None):
            path.unlink(missing_ok=True)
            if damaged is not None:
                path.write_bytes(damaged)
            assert search.run(QUERY).hits == expected
            with pytest.raises(SearchError, match="hubbleclip index") as error:
                Search.open(own_index)
            assert damaged is None or path.name in str(error.value)
            assert "\n" not in str(error.value)
        path.write_bytes(content)


@pytest.mark.parametrize(("pattern", "name"), [("current.json", "tiles"), ("*/index.json", "format")])
def test_an_index_of_another_version_is_one_line(own_index: Settings, pattern: str, name: str) -> None:
    (path,) = Layout(own_index.root).index.glob(pattern)
    facts = json.loads(path.read_bytes())
    del facts[name], facts["self_sha256"]
    path.write_bytes(description_bytes(facts))
    with pytest.raises(SearchError, match=f"{path.name} is damaged .*{name}.*run `hubbleclip index`"):
        Search.open(own_index)


def test_an_index_without_its_folder_is_one_line(own_index: Settings) -> None:
    layout, current = Layout(own_index.root), read_current(Layout(own_index.root))
    write_current(layout, replace(current, num_tiles=49))
    with pytest.raises(SearchError, match="48 of 49 tiles"):
        Search.open(own_index)
    shutil.rmtree(layout.model_index(current.model_digest))
    with pytest.raises(SearchError, match="0 of 49 tiles: run `hubbleclip index`"):
        Search.open(own_index)
    with pytest.raises(SearchError, match="this version cannot open the index in a store 'other'"):
        open_store(layout, "a", "other")
