"""What is dropped goes with its rows, its files and its features, also after an interruption."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock, patch

import numpy as np
import pytest
from search_site import add_tiles, settings_of, tile_id_of
from stages import NOW, product, stage_at
from valid_catalog import dataset, make

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.pending import pending_fetch, pending_products, pending_proposals
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.cli.app import main
from hubbleclip.core.errors import HubbleclipError, MachineError
from hubbleclip.core.io import write_text
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Placement
from hubbleclip.pipeline.drop import drop, remove_files
from hubbleclip.pipeline.engine.stage import open_stage
from hubbleclip.pipeline.index import remove_from_index
from hubbleclip.search.open_index import open_store


def add_features(layout: Layout, model: str, tile_ids: Sequence[str]) -> None:
    store = open_store(layout, model * 32)
    store.append(tile_ids, np.eye(len(tile_ids), 8, dtype=np.float32))
    store.close()


@pytest.mark.parametrize(
    ("name", "summary", "left", "rejected"),
    [
        ("mast:1-0", "1 products and 1 tiles", ["0-0", "0-1", "1-1"], ["mast:1-0 fetch"]),
        (
            "hst:1",
            "1 proposal, 2 products and 2 tiles",
            ["0-0", "0-1"],
            ["hst:1 products", "hst:1 proposals", "mast:1-0 fetch", "mast:1-1 fetch"],
        ),
    ],
)
def test_a_product_or_a_proposal_is_dropped_with_all_that_came_of_it(
    name: str, summary: str, left: list[str], rejected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, own = settings_of(tmp_path), tile_id_of(1, 0)
    layout = Layout(settings.root)
    add_tiles(settings, range(2), range(2))
    with writing_catalog(layout) as catalog:
        placed = make(Placement, dataset_digest="2" * 32, tile_id=own)
        catalog.upsert({"dataset": [dataset("2"), dataset("3")], "placement": [placed]})
    tile_ids = {f"{proposal}-{number}": tile_id_of(proposal, number) for proposal in range(2) for number in range(2)}
    add_features(layout, "a", [*tile_ids.values()])
    summary = f"{summary}; tile copies remain in: dataset {'2' * 32}"
    assert drop(settings, name, lambda shown: shown != summary) == "nothing was dropped"
    with pytest.raises(SystemExit):
        main(["drop", name, f"--data={tmp_path}"])
    assert f"{summary} would be dropped: add --yes" in capsys.readouterr().err
    assert layout.tile(own).exists()
    terminal = Mock(isatty=lambda: True)
    for answer, outcome in (("", "nothing was dropped"), (" Y", f"dropped {summary}")):
        with (
            patch("sys.stdin", terminal),
            patch("builtins.input", Mock(return_value=answer)),
            pytest.raises(SystemExit),
        ):
            main(["drop", name, f"--data={tmp_path}"])
        assert capsys.readouterr().out == f"{outcome}\n"
    kept = [tile_ids[one] for one in left]
    with read_catalog(layout) as catalog:
        assert {row["tile_id"] for row in catalog.rows("FROM tile")} == {*kept, own}  # a dataset holds it
        fetched = catalog.rows("FROM product WHERE sha256 IS NOT NULL ORDER BY uri")
        assert [row["uri"] for row in fetched] == [f"mast:{one}" for one in left]
        rows = catalog.rows("SELECT entity_id || ' ' || stage AS of FROM rejection ORDER BY of")
    assert [row["of"] for row in rows] == rejected
    assert {path.stem for path in layout.tiles.rglob("*.png")} == {*kept}
    assert open_store(layout, "a" * 32).tile_ids.to_pylist() == kept
    with open_stage("ingest", settings) as stage:
        stage.catalog.run("clear_all_failures")  # `ingest --retry`
        assert pending_fetch(stage.catalog, settings) == []
        listed = {row["proposal_id"] for row in pending_products(stage.catalog, settings.archive)}
        assert listed == {"hst:0", "hst:1"} - {name}
        assert list(pending_proposals(stage.catalog, settings.archive)) == []
    with pytest.raises(HubbleclipError, match="no product or proposal mast:9"):
        drop(settings, "mast:9", lambda _: True)


@pytest.mark.parametrize(
    "step",
    [
        "hubbleclip.pipeline.drop.remove_from_index",
        "hubbleclip.pipeline.drop.remove_files",
        "hubbleclip.catalog.catalog.Catalog.run",
    ],
)
def test_a_second_drop_finishes_an_interrupted_one(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, own = settings_of(tmp_path), tile_id_of(1, 0)
    layout, dropped = Layout(settings.root), "SELECT entity_id FROM rejection WHERE reason = 'dropped'"
    add_tiles(settings, range(1, 2), range(1))
    add_features(layout, "a", [own])

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(MachineError):
        patch.setattr(step, fail)
        drop(settings, "mast:1-0", lambda _: True)
    for num_tiles in (1, 0):
        with read_catalog(layout) as catalog:
            assert catalog.rows(dropped) == [{"entity_id": "mast:1-0"}]  # it is not fetched again
            assert catalog.counts()["tile"] == num_tiles
        if num_tiles:
            drop(settings, "mast:1-0", lambda _: True)
    assert not layout.tile(own).exists()
    assert open_store(layout, "a" * 32).tile_ids.to_pylist() == []


def test_a_file_of_another_product_or_outside_of_the_profile_is_kept(tmp_path: Path) -> None:
    files = {"a": "products/shared", "b": "products/shared", "c": "products/own", "d": None}
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"product": [product(n, uri=n, path=p, superseded_at=NOW) for n, p in files.items()]})
        outside, root = tmp_path / "local.fits", stage.layout.root
        for file in (outside, root / "products/shared", root / "products/own", root / "tiles/t.png"):
            write_text(file, "")
        dropped = [{"uri": uri, "path": files[uri]} for uri in "acd"]
        remove_files(stage, dropped, [{"path": "tiles/t.png"}, {"path": str(outside)}])
        assert outside.exists()
        assert [path.name for place in ("products", "tiles") for path in (root / place).iterdir()] == ["shared"]


@pytest.mark.parametrize("name", ["pathlib.Path.read_bytes", "hubbleclip.search.stores.embedded.sha256_file"])
def test_features_outlive_an_error_of_the_disk(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    add_features(layout, "a", ["b" * 32])
    with monkeypatch.context() as patch, pytest.raises((OSError, MachineError)):
        patch.setattr(name, Mock(side_effect=OSError(errno.EIO, "Input/output error")))
        remove_from_index(layout, {"b" * 32})
    assert open_store(layout, "a" * 32).tile_ids.to_pylist() == ["b" * 32]


@pytest.mark.parametrize("num_renames", [0, 1])
def test_features_outlive_an_interrupted_removal(
    num_renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    add_features(layout, "0", ["c" * 32])
    add_features(layout, "a", ["b" * 32, "c" * 32])
    rename, left = Path.rename, iter(range(num_renames))

    def interrupted(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", interrupted)
        remove_from_index(layout, {"b" * 32})
    damaged = layout.model_index("9" * 32)
    damaged.mkdir()
    (damaged / "index.json").write_text("{}")
    remove_from_index(layout, {"b" * 32})
    assert [open_store(layout, one * 32).tile_ids.to_pylist() for one in "0a"] == [["c" * 32]] * 2
    assert not damaged.exists()
    assert list(layout.index.glob(".*.new")) == []
