"""`hubbleclip tile`: files to tiles, an index and a sheet, a reason for each image that gives none."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from finished_runs import run_command
from PIL import Image
from synthetic_fits import starry_sky, write_drz

from hubbleclip.cli.app import main
from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.pipeline.tiles.tile_files import tile_files
from hubbleclip.simulator.observations import SkySettings, make_proposals, observations_of, render_product

SKY = SkySettings(num_proposals=2, frame_px=160)
TILES = TileSettings(size_px=128, min_side_px=32)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    observation = observations_of(SKY, make_proposals(SKY)[0])[0]
    product = next(p for p in observation.products if p.kind in {"DRZ", "DRC", "FLT", "FLC", "C0M"})
    path = tmp_path_factory.mktemp("image") / product.file_name
    path.write_bytes(render_product(SKY, observation, product))
    return path


def test_a_file_becomes_tiles_and_a_sheet(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("tile", image, f"--out={tmp_path}/out", "--set=tiles.size_px=128", "--set=tiles.min_side_px=32")
    lines = capsys.readouterr().out.splitlines()
    tiles = sorted((tmp_path / "out").glob("*_ext*.png"))
    assert tiles
    assert all(Image.open(tile).size == (128, 128) for tile in tiles)
    assert lines[-1] == f"{len(tiles)} tiles, {tmp_path / 'out/index.ecsv'} and {tmp_path / 'out/sheet.png'}"


def test_a_tile_alone_has_its_place_on_the_sky_and_the_limits_of_its_stretch(tmp_path: Path) -> None:
    path = write_drz(tmp_path / "field_drz.fits", starry_sky((300, 260)))
    list(tile_files([path], tmp_path / "out", TILES.model_copy(update={"views": ("native", "overview")})))
    data_yx, header = fits.getdata(path, "SCI", header=True)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(128), np.arange(128)))
    names = [file.name for file in (tmp_path / "out").glob("field_drz_ext1_*.png")]
    assert {"field_drz_ext1_y0_x2.png", "field_drz_ext1_overview.png"} < set(names)
    for name in names:
        with Image.open(tmp_path / "out" / name) as picture:
            facts, levels_yx = picture.text, np.asarray(picture)[::-1]
        y0, x0, shrink = (float(facts[key]) for key in ("y0", "x0", "shrink"))
        pixels_xy = ((round(first / shrink) + axis + 0.5) * shrink - 0.5 for axis, first in ((x, x0), (127 - y, y0)))
        found = WCS(fits.Header.fromstring(facts["wcs"], sep="\n")).pixel_to_world(x, 127 - y)
        assert found.separation(WCS(header).pixel_to_world(*pixels_xy)).max() < 1 * u.mas
        if shrink == 1:
            black, white, softening = (float(facts[key]) for key in ("black", "white", "softening"))
            scaled_yx = np.arcsinh((data_yx[int(y0) :, int(x0) :][:128, :128] - black) / softening)
            expected_yx = np.clip(255 * scaled_yx / math.asinh((white - black) / softening), 0, 255)
            assert np.mean(np.abs(levels_yx - expected_yx) <= 0.51) > 0.97


def test_tiles_of_files_with_one_stem_are_numbered(tmp_path: Path) -> None:
    path, packed = write_drz(tmp_path / "x_drz.fits", starry_sky((128, 128))), tmp_path / "x_drz.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    list(tile_files([path, packed, path], tmp_path / "out", TILES))
    names = sorted(file.name for file in (tmp_path / "out").glob("*_ext*.png"))
    assert names == ["x_drz-2_ext1_y0_x0.png", "x_drz-3_ext1_y0_x0.png", "x_drz_ext1_y0_x0.png"]


def write_ten_images(path: Path, *, name: str, primary: bool) -> Path:
    sky = starry_sky((64, 64), num_stars=20)
    first = fits.PrimaryHDU(sky if primary else None)
    fits.HDUList([first, *(fits.ImageHDU(sky, name=name, ver=n) for n in range(1, 11 - primary))]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("name", "primary", "num_cut"), [("SCI", False, 10), ("", False, 10), ("", True, 1), ("SCI", True, 9)]
)
def test_each_of_ten_images_gives_a_tile_or_a_reason(tmp_path: Path, name: str, primary: bool, num_cut: int) -> None:
    path = write_ten_images(tmp_path / "ten.fits", name=name, primary=primary)
    lines = list(tile_files([path], tmp_path / "out", TILES))
    rows = json.loads((tmp_path / "out/index.json").read_text())["rows"]
    assert sorted(row["extension"] for row in rows) == [n + (not primary) for n in range(10)]
    assert [bool(row.get("picture")) for row in rows].count(True) == num_cut
    assert all(row["reason"] == "not_chosen" and "SCI" in row["detail"] for row in rows if not row.get("picture"))
    if num_cut < 10:
        assert (
            f"{10 - num_cut} rejected: an image that is not the science image of its file (such as extension"
            in lines[0]
        )


def test_a_file_without_a_usable_image_counts_the_reasons_of_its_images(tmp_path: Path) -> None:
    sides = [8] * 6 + [64] * 4
    hdus = [fits.ImageHDU(np.zeros((side, side), np.float32), name="SCI", ver=n) for n, side in enumerate(sides, 1)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "ten.fits")
    with pytest.raises(HubbleclipError, match="none of 1 files gave a tile"):
        list(tile_files([tmp_path / "ten.fits"], tmp_path / "out", TILES))
    (row,) = json.loads((tmp_path / "out/index.json").read_text())["rows"]
    assert row["reason"] == "too_small"
    assert row["detail"].endswith("(the first of 10 images: 6: fewer pixels than tiles.min_side_px, 4: no valid pixel)")


def test_the_index_has_position_and_scale_of_each_tile_and_the_reason_of_each_rejection(tmp_path: Path) -> None:
    data = starry_sky((128, 256))
    data[:, 128:] = np.nan
    path = write_drz(tmp_path / "half_drz.fits", data)
    (tmp_path / "broken.fits").write_bytes(b"no FITS")
    native = TILES.model_copy(update={"views": ("native",)})
    lines = list(tile_files([tmp_path / "broken.fits", path], tmp_path / "out", native))
    assert lines[1].startswith(
        "half_drz.fits: 1 tile; 1 rejected: too few valid pixels (such as extension 1, view native, y0 0, x0 128: "
    )
    assert lines[0].startswith("broken.fits: rejected, not a readable file: ")
    table = Table.read(tmp_path / "out/index.ecsv")
    assert list(table["picture"].filled("")) == ["", "half_drz_ext1_y0_x0.png", ""]
    assert list(table["file"]) == ["broken.fits", "half_drz.fits", "half_drz.fits"]
    assert list(table["reason"].filled("")) == ["unreadable", "", "too_little_valid"]
    assert (table["y0"][2], table["x0"][2], table["extension"][2]) == (0, 128, 1)
    assert table["ra_deg"].unit == u.deg and table["pixel_scale_arcsec"].unit == u.arcsec
    assert table["pixel_scale_arcsec"][1] == pytest.approx(0.05)
    assert table["ra_deg"].mask.tolist() == [True, False, True]
    assert table.meta["settings"]["size_px"] == 128


def test_a_folder_is_cut_and_each_skipped_file_is_named(image: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "given", tmp_path / "given/tiles"
    for name in ("a b/x.fits", "c/x.fits", "c/x.fits.gz.tar", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image.read_bytes())
    lines = list(tile_files([folder, folder / "c/x.fits", folder / "a b/x.fits"], out, TILES))
    assert [line.split(":")[0] for line in lines[:-1]] == [
        "c/x.fits.gz.tar",
        "notes.txt",
        "a b/x.fits",
        "c/x.fits",
        "x.fits",
        "x.fits",
    ]
    assert "unpack it" in lines[0] and "a FITS file under another name" in lines[1]
    stems = {file.name.partition("_ext")[0] for file in out.glob("*_ext*.png")}
    assert stems == {"a_b_x", "c_x", "x", "x-2"}
    num_tiles = len(list(out.glob("*_ext*.png")))
    again = list(tile_files([folder], out, TILES))
    assert len(again) == 5 and len(list(out.glob("*_ext*.png"))) == num_tiles


def test_a_packed_file_is_cut_in_a_folder_as_if_it_were_named(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).normal(100, 5, (128, 128)).astype(np.float32)
    pixels[40:60, 40:60] += 500
    images = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, name="SCI")])
    (tmp_path / "given").mkdir()
    images.writeto(tmp_path / "given/x.fits.fz")
    for number, place in enumerate((tmp_path / "given", tmp_path / "given/x.fits.fz")):
        assert "1 tile" in list(tile_files([place], tmp_path / f"tiles{number}", TILES))[-1]


def test_a_preview_becomes_a_tile_and_stands_upright_on_the_sheet(tmp_path: Path) -> None:
    levels = np.zeros((128, 128), np.uint8)
    levels[:32] = 200
    Image.fromarray(levels).save(tmp_path / "seen.jpg", quality=95)
    lines = list(tile_files([tmp_path / "seen.jpg"], tmp_path / "out", TILES))
    assert lines[0] == "seen.jpg: 1 tile"
    sheet = np.array(Image.open(tmp_path / "out" / "sheet.png")).astype(int)
    assert sheet[20:70, 10:250].mean() > 150 > 50 > sheet[100:250, 10:250].mean()


@pytest.mark.parametrize("out", ["taken", "taken/below", "x" * 256, "loop/below"])
def test_a_place_that_is_no_folder_is_named_before_any_work(
    image: Path, tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SystemExit) as ended:
        main(["tile", str(image), f"--out={tmp_path / out}"])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert f"{tmp_path / out} cannot be used" in said.err and "--out" in said.err


def test_a_folder_in_the_place_of_the_index_is_one_line(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/index.ecsv").mkdir(parents=True)
    with pytest.raises(SystemExit):
        main(["tile", str(image), f"--out={tmp_path / 'out'}"])
    assert "index.ecsv" in capsys.readouterr().err
