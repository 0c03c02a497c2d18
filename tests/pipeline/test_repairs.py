"""What a bad disk or a failing archive takes away comes back by the next `dataset`, and nothing else is held up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.config.settings import Settings, SimulatorSettings, read_settings
from hubbleclip.core.errors import ArchiveDownError
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.verify import verify_dataset
from hubbleclip.pipeline.dataset import dataset
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.ingest.run import ingest
from hubbleclip.pipeline.pending_work import newest_dataset
from hubbleclip.pipeline.shards import shards
from hubbleclip.pipeline.tiles.run import tiles
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


def test_what_was_fetched_is_cut_and_packed_while_the_archive_is_down(tmp_path: Path) -> None:
    with running_simulator(SKY) as url:
        settings = settings_at(tmp_path, url)
        ingest(settings)
    with pytest.raises(ArchiveDownError, match="cannot reach"):
        dataset(settings)
    assert newest_inputs(settings)
