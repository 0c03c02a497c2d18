"""`hubbleclip tile`: files to tiles and a sheet, a reason for those that give none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hubbleclip.config.settings import SimulatorSettings, TileSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.images.encode import decode_png
from hubbleclip.pipeline.tiles.tile_files import tile_files
from hubbleclip.simulator.observations import make_proposals, observations_of, render_product

SKY = SimulatorSettings(num_proposals=2, frame_px=160)
TILES = TileSettings(size_px=128, min_side_px=32)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    observation = observations_of(SKY, make_proposals(SKY)[0])[0]
    product = next(p for p in observation.products if p.kind in {"DRZ", "DRC", "FLT", "FLC", "C0M"})
    path = tmp_path / product.file_name
    path.write_bytes(render_product(SKY, observation, product))
    return path


def test_a_file_becomes_tiles_and_a_sheet(image: Path, tmp_path: Path) -> None:
    lines = list(tile_files([image], tmp_path / "out", TILES))
    tiles = sorted((tmp_path / "out").glob("*_*-*.png"))
    assert tiles
    assert all(decode_png(tile.read_bytes()).shape == (128, 128) for tile in tiles)
    assert lines[-1] == f"{len(tiles)} tiles and {tmp_path / 'out' / 'sheet.png'}"


def test_a_file_that_gives_nothing_is_told_and_the_rest_goes_on(image: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.fits"
    broken.write_bytes(b"SIMPLE  =                    T" + b" " * 100)
    lines = list(tile_files([broken, image], tmp_path / "out", TILES))
    assert lines[0].startswith("broken.fits: rejected, ")
    assert lines[1].startswith(f"{image.name}: ")


def test_a_preview_becomes_a_tile_and_stands_upright_on_the_sheet(tmp_path: Path) -> None:
    levels = np.zeros((128, 128), np.uint8)
    levels[:32] = 200
    Image.fromarray(levels).save(tmp_path / "seen.jpg", quality=95)
    lines = list(tile_files([tmp_path / "seen.jpg"], tmp_path / "out", TILES))
    assert lines[0] == "seen.jpg: 1 tiles"
    sheet = decode_png((tmp_path / "out" / "sheet.png").read_bytes()).astype(int)
    assert sheet[20:70, 10:250].mean() > 150 > 50 > sheet[100:250, 10:250].mean()


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_place_that_is_no_folder_is_named_before_any_work(image: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(HubbleclipError, match=r"taken.* cannot be written .*: give another folder by --out"):
        next(tile_files([image], tmp_path / out, TILES))


def test_where_no_file_gives_a_tile_each_tells_why_and_the_command_fails(tmp_path: Path) -> None:
    for name in ("a.fits", "b.fits"):
        (tmp_path / name).write_bytes(b"no FITS")
    told = []
    with pytest.raises(HubbleclipError, match="none of 2 files gave a tile"):
        told.extend(line for line in tile_files([tmp_path / "a.fits", tmp_path / "b.fits"], tmp_path / "out", TILES))
    assert [line.split(":")[0] for line in told] == ["a.fits", "b.fits"]


def test_a_missing_file_is_named_before_any_work(image: Path, tmp_path: Path) -> None:
    with pytest.raises(HubbleclipError, match=r"nowhere\.fits"):
        list(tile_files([image, tmp_path / "nowhere.fits"], tmp_path / "out", TILES))
    assert not (tmp_path / "out").exists()
