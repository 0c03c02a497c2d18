"""What a bad disk or a failing archive takes away comes back by the next `dataset`, and nothing else is held up."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stages import product

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.cli.app import main
from hubbleclip.config.settings import Settings, SimulatorSettings, read_settings
from hubbleclip.contracts.audit import check_rules
from hubbleclip.core.errors import ArchiveUnreachableError, MachineError, SettingsError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.verify import verify_dataset
from hubbleclip.pipeline.dataset import dataset
from hubbleclip.pipeline.drop import drop
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.index import remove_from_index
from hubbleclip.pipeline.ingest.fetch import is_intact
from hubbleclip.pipeline.ingest.run import ingest
from hubbleclip.pipeline.pending_work import newest_dataset
from hubbleclip.pipeline.shards.run import shards
from hubbleclip.pipeline.tiles.run import tiles
from hubbleclip.search.open_index import open_store
from hubbleclip.simulator.server.launcher import running_simulator

pytestmark = pytest.mark.slow

SKY = SimulatorSettings(num_proposals=12, frame_px=96)
SMALL: dict[str, Any] = {
    "fetch": {"requests_per_s": 1000, "min_free_gb": 0},
    "tiles": {"size_px": 64, "min_side_px": 32},
    "splits": {"val_share": 0.2, "test_share": 0.3},
    "flows": {"batch_size": 4},
}


def settings_at(data: Path, url: str, **fetch: object) -> Settings:
    values = {"data": str(data), "archive": {"mast_url": url}, "fetch": SMALL["fetch"] | fetch}
    return read_settings("demo", SMALL | values)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_simulator(SKY) as address:
        yield address


@pytest.fixture(scope="module")
def fetched(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with products, and no tiles yet."""
    data = tmp_path_factory.mktemp("fetched") / "data"
    ingest(settings_at(data, url))
    return data


@pytest.mark.parametrize("kind", ["product", "proposal"])
def test_what_is_dropped_goes_with_all_that_came_of_it_and_does_not_come_back(
    kind: str, cut: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_at(shutil.copytree(cut, tmp_path / "data"), url)
    shards(settings)
    layout = layout_of(settings)
    with read_catalog(layout) as catalog:
        (row,) = catalog.rows("SELECT product_uri, proposal_id, tile_id, path FROM tile ORDER BY tile_id LIMIT 1")
    name = row["product_uri"] if kind == "product" else row["proposal_id"]
    kept = current_tiles(settings, name)
    store = open_store(layout, "a" * 32)
    store.append([*kept, row["tile_id"]], np.eye(len(kept) + 1, 8, dtype=np.float32) + 0.1)
    store.close()
    place = [f"--data={settings.data}", f"--set=archive.mast_url={url}"]
    with pytest.raises(SystemExit):
        main(["drop", name, *place])
    assert "would be dropped: add --yes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["drop", name, "--yes", *place])
    assert f"these keep copies: dataset {newest_dataset(layout).name}" in capsys.readouterr().out.replace("\n", " ")
    assert open_store(layout, "a" * 32).tile_ids.to_pylist() == kept
    assert not layout.absolute(row["path"]).exists()
    ingest(settings, retry=True)
    tiles(settings)
    assert current_tiles(settings) == kept
    with read_catalog(layout) as catalog:
        texts = catalog.rows("SELECT proposal_id FROM proposal WHERE abstract IS NOT NULL")
        assert (row["proposal_id"] in [text["proposal_id"] for text in texts]) == (kind == "product")
        assert [result for result in check_rules(catalog.query) if result.num_broken] == []


@pytest.mark.parametrize("step", ["remove_from_index", "remove_files", "write_drop"])
def test_a_second_drop_finishes_an_interrupted_one(
    step: str, cut: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_at(shutil.copytree(cut, tmp_path / "data"), url)
    layout = layout_of(settings)
    (row,) = rows(settings, "SELECT product_uri, tile_id, path FROM tile ORDER BY tile_id LIMIT 1")
    store = open_store(layout, "a" * 32)
    store.append([row["tile_id"]], np.ones((1, 8), np.float32))
    store.close()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(MachineError):
        patch.setattr(f"hubbleclip.pipeline.drop.{step}", fail)
        drop(settings, row["product_uri"], lambda _: True)
    assert rows(settings, "SELECT entity_id FROM rejection WHERE reason = 'dropped'")  # it is not fetched again
    drop(settings, row["product_uri"], lambda _: True)
    assert not layout.absolute(row["path"]).exists()
    assert open_store(layout, "a" * 32).tile_ids.to_pylist() == []
    assert rows(settings, "SELECT reason FROM rejection WHERE reason = 'dropped'")


def test_a_drop_beside_a_remote_store_is_refused(tmp_path: Path) -> None:
    stored = settings_at(tmp_path, "http://127.0.0.1:9").model_copy(update={"store": "file:///mnt/shared"})
    with pytest.raises(SettingsError, match="file:///mnt/shared"):
        drop(stored, "1", lambda _: True)


@pytest.mark.parametrize("num_renames", [0, 1])
def test_features_outlive_an_interrupted_removal(
    num_renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    store = open_store(layout, "a" * 32)
    store.append(["b" * 32, "c" * 32], np.eye(2, 8, dtype=np.float32))
    store.close()
    rename, left = Path.rename, iter(range(num_renames))

    def interrupted(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", interrupted)
        remove_from_index(layout, {"b" * 32})
    damaged = layout.model_index("d" * 32)
    damaged.mkdir()
    (damaged / "index.json").write_text("{}")
    remove_from_index(layout, {"b" * 32})
    assert open_store(layout, "a" * 32).tile_ids.to_pylist() == ["c" * 32]
    assert not damaged.exists()
    assert list(layout.index.glob(".*.old")) == []


def current_tiles(settings: Settings, *names: str) -> list[str]:
    """Ids of the current tiles that are of none of these products and proposals."""
    with read_catalog(layout_of(settings)) as catalog:
        rows = catalog.named_query("current_tiles", settings_digest=settings.tiles.digest())
    return [row["tile_id"] for row in rows if {row["product_uri"], row["proposal_id"]}.isdisjoint(names)]


@pytest.fixture(scope="module")
def cut(fetched: Path, url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with products and tiles, and no dataset yet."""
    data = shutil.copytree(fetched, tmp_path_factory.mktemp("cut") / "data")
    tiles(settings_at(data, url))
    return data


@pytest.fixture(scope="module")
def inputs(cut: Path, url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the samples of the dataset that nothing has disturbed."""
    settings = settings_at(shutil.copytree(cut, tmp_path_factory.mktemp("calm") / "data"), url)
    shards(settings)
    return newest_inputs(settings)


def newest_inputs(settings: Settings) -> str:
    info = verify_dataset(newest_dataset(layout_of(settings)))
    return str(info.description["inputs_digest"])


def rows(settings: Settings, sql: str) -> list[dict[str, Any]]:
    with read_catalog(layout_of(settings)) as catalog:
        return catalog.rows(sql)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = pytest.mark.parametrize("damage", [flip, cut_off, Path.unlink], ids=["flipped", "cut off", "lost"])


@DAMAGE
def test_a_damaged_tile_is_rejected_and_the_next_dataset_has_it_again(
    damage: Callable[[Path], None], cut: Path, url: str, inputs: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_at(shutil.copytree(cut, tmp_path / "data"), url)
    names = [row["tile_id"] for row in rows(settings, "SELECT tile_id FROM tile ORDER BY tile_id")]
    for tile_id in names[::9]:
        damage(layout_of(settings).existing_tile(tile_id))
    shards(settings)
    packed = read_dataset(newest_dataset(layout_of(settings))).manifest["tile_id"].to_pylist()
    assert set(names) - set(packed) == set(names[::9])
    assert f"{len(names[::9])} tiles are not used" in caplog.text
    dataset(settings)
    assert newest_inputs(settings) == inputs


@DAMAGE
@pytest.mark.parametrize("keep_fits", [True, False])
def test_a_damaged_product_is_fetched_again(
    keep_fits: bool, damage: Callable[[Path], None], fetched: Path, url: str, inputs: str, tmp_path: Path
) -> None:
    settings = settings_at(shutil.copytree(fetched, tmp_path / "data"), url)
    paths = [row["path"] for row in rows(settings, "SELECT path FROM product ORDER BY sha256")][::5]
    for path in paths:
        damage(layout_of(settings).absolute(path))
    settings = settings_at(tmp_path / "data", url, keep_fits=keep_fits)
    tiles(settings)
    assert not rows(settings, "FROM rejection WHERE entity = 'product' AND stage = 'tiles'")
    dataset(settings)
    assert newest_inputs(settings) == inputs
    assert rows(settings, "SELECT max(version) AS version FROM product") == [{"version": 1}]


@pytest.mark.parametrize(
    ("written_s", "content", "size_bytes", "expected"),
    [
        (-1, b"new", 3, True),
        (-1, b"ne", 3, False),
        (-1, b"of which extensions were skipped", 9_000_000, True),
        (1, b"new", 3, False),
        (1, b"old", 3, True),
        (0, None, 3, False),
    ],
)
def test_a_file_is_hashed_again_only_if_it_was_written_since_it_was_fetched_or_has_another_size(
    written_s: int, content: bytes | None, size_bytes: int, expected: bool, tmp_path: Path
) -> None:
    path, fetched_at = tmp_path / "a.fits", datetime.now(UTC)
    if content is not None:
        path.write_bytes(content)
        os.utime(path, (fetched_at.timestamp() + written_s,) * 2)
    one = product("a", path=str(path), fetched_at=fetched_at, sha256=sha256_bytes(b"old"), size_bytes=size_bytes)
    assert is_intact(one, Layout(tmp_path)) is expected


def test_what_was_fetched_is_cut_and_packed_while_the_archive_is_down(tmp_path: Path) -> None:
    with running_simulator(SKY) as url:
        settings = settings_at(tmp_path, url)
        ingest(settings)
    with pytest.raises(ArchiveUnreachableError, match="cannot reach"):
        dataset(settings)
    assert newest_inputs(settings)


def test_without_any_file_the_failure_of_the_archive_is_the_message(tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnreachableError, match="cannot reach"):
        dataset(settings_at(tmp_path, "http://127.0.0.1:9"))
