"""A dataset as others read it: the card, the sky index, Croissant, the loaders of others."""

import io
import json
import re
import subprocess
import sys
import tarfile
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from astropy.table import Table
from astropy_healpix import HEALPix
from datasets import load_dataset
from finished_runs import run_command
from model_hub import model_hub
from PIL import Image
from synthetic_samples import built_in, contents, make_samples_with_pngs

from hubbleclip.core.io import sha256_file
from hubbleclip.core.records import to_row
from hubbleclip.dataset.build import read_dataset
from hubbleclip.dataset.hats_catalog import sky_index, write_hats_catalog
from hubbleclip.dataset.manifest import SPLITS
from hubbleclip.dataset.publish import publish
from hubbleclip.dataset.shard_writer import interleave
from hubbleclip.dataset.verify import find_faults

SAMPLES, PNGS = make_samples_with_pngs(60, 10)
FIRST_NIGHT = interleave(SAMPLES[:40])
FIRST = {one.tile_id for split in SPLITS for one in [one for one in FIRST_NIGHT if one.split == split][:6]}
"""The first tiles of each split in the shards, in which columns that may be null are null."""
FULL = {"category": "Galaxies", "cycle": 20, "wcs": "WCSAXES", "y0": -3, "black": 0.5}
SAMPLES = [one if one.tile_id in FIRST else replace(one, **FULL) for one in SAMPLES]
READ_CROISSANT = """
import json, sys
import mlcroissant
dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
issues = dataset.metadata.ctx.issues
rows = [{key: str(value) for key, value in row.items()} for row in dataset.records("samples")]
pictures = {row["pictures/tile_id"].decode(): row["pictures/picture"].size for row in dataset.records("pictures")}
print(json.dumps({"issues": sorted([*issues.errors, *issues.warnings]), "rows": rows, "pictures": pictures}))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two nights, so that some shards are in another folder."""
    root = tmp_path_factory.mktemp("datasets")
    built_in(root, SAMPLES[:40], PNGS)
    return built_in(root, SAMPLES, PNGS, released_on=date(2026, 1, 2))


def partitions_of(catalog):
    """The Parquet files of a HATS catalogue in the order of its partitions, by pixel."""
    table = np.loadtxt(catalog / "partition_info.csv", delimiter=",", skiprows=1, dtype=int, ndmin=2)
    return {
        (order, npix): catalog / f"dataset/Norder={order}/Dir={npix // 10_000 * 10_000}/Npix={npix}.parquet"
        for order, npix in table.tolist()
    }


def test_the_sky_catalogue_has_every_tile_in_order_of_its_pixel(built):
    parts = [pq.read_table(path, partitioning=None) for path in partitions_of(built / "sky").values()]
    index = pa.concat_tables(parts)
    pixels = index["_healpix_29"].to_numpy()
    ra_deg, dec_deg = HEALPix(2**29, "nested").healpix_to_lonlat(pixels)
    assert pixels.dtype == np.int64
    assert (np.diff(pixels) >= 0).all()
    assert set(index["tile_id"].to_pylist()) == {one.tile_id for one in SAMPLES}
    assert np.allclose(ra_deg.deg, index["ra_deg"], atol=1e-6)
    assert np.allclose(dec_deg.deg, index["dec_deg"], atol=1e-6)


def test_croissant_names_every_file_column_and_picture(built):
    """A reader follows its paths, patterns and expressions, and compares its hashes."""
    found, info = json.loads((built / "croissant.json").read_text()), read_dataset(built)
    *files, members = found["distribution"]
    assert [one["name"] for one in files] == ["manifest.parquet", *info.addresses]
    assert [{"@id": one["@id"]} for one in files[1:]] == members["containedIn"]
    for one in files:
        path = built / one["contentUrl"]
        assert one["@id"] == one["name"] == path.name and one["sha256"] == sha256_file(path)
    names = []
    for shard in info.addresses.values():
        with tarfile.open(shard) as tar:
            names += tar.getnames()
    pictures = [name for name in names if any(fnmatchcase(name, pattern) for pattern in members["includes"])]
    assert sorted(pictures) == sorted(f"{one.tile_id}.png" for one in SAMPLES)
    rows, of_pictures = found["recordSet"]
    assert {one["source"]["fileSet"]["@id"] for one in of_pictures["field"]} == {members["@id"]} == {members["name"]}
    assert re.fullmatch(of_pictures["field"][0]["source"]["transform"]["regex"], pictures[0])[1] in PNGS
    assert [one["source"]["extract"]["column"] for one in rows["field"]] == info.manifest.column_names
    fields = {one["name"]: (one["dataType"], one.get("arrayShape")) for one in rows["field"]}
    types = {"title": "sc:Text", "cycle": "cr:Int64", "ra_deg": "cr:Float64", "is_moving": "sc:Boolean"}
    assert {name: fields[name] for name in types} == {name: (kind, None) for name, kind in types.items()}
    assert (fields["captions"], fields["corners_deg"]) == (("sc:Text", "-1"), ("cr:Float64", "-1"))


@pytest.mark.slow
def test_croissant_s_own_reader_finds_no_fault_and_loads_every_record(built, tmp_path):
    # In a process of its own: it keeps what it unpacks in a folder that it settles at import, by relative names.
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", READ_CROISSANT, built / "croissant.json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["issues"] == []
    assert {row["samples/tile_id"] for row in found["rows"]} == {str(one.tile_id.encode()) for one in SAMPLES}
    assert found["pictures"] == {one.tile_id: [16, 16] for one in SAMPLES}


def assert_all_samples(loaded):
    assert set(loaded) == {"train", "validation", "test"}
    rows = {row["__key__"]: row for split in loaded.values() for row in split}
    assert rows.keys() == {one.tile_id for one in SAMPLES}
    for one in SAMPLES:
        row = rows[one.tile_id]
        assert row["txt"] == one.captions[0]
        assert row["json"] == to_row(one)
        assert np.array_equal(np.asarray(row["png"]), np.asarray(Image.open(io.BytesIO(PNGS[one.tile_id]))))


def test_hugging_face_datasets_reads_every_sample_by_the_code_of_the_card(built, tmp_path, monkeypatch):
    monkeypatch.chdir(built)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))
    (code,) = re.findall(r"```python\n(.*?)```", (built / "README.md").read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    assert_all_samples(names["samples"])


@pytest.mark.parametrize("archive", ["simulated", "hst"])
def test_a_dataset_is_one_commit_on_a_hub_whose_card_loads_every_sample(archive, built, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    folder = (
        built if archive == "simulated" else built_in(tmp_path, [replace(o, archive=archive) for o in SAMPLES], PNGS)
    )
    monkeypatch.setenv("HF_TOKEN", "secret")
    with model_hub("secret") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.stored |= {"datasets/me/data": {}} if archive == "hst" else {"me/data": {}}
        run_command("publish", folder, "hf://datasets/me/data")
    assert hub.commits == [f"datasets/me/data: Dataset {folder.name}"]
    assert {"README.md", "LICENSE.md"} <= hub.stored["datasets/me/data"].keys()
    for name, content in hub.stored["datasets/me/data"].items():
        path = tmp_path / "clone" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert list(find_faults(tmp_path / "clone" / folder.name)) == []
    if archive == "simulated":  # with shards of an older dataset
        assert_all_samples(load_dataset(str(tmp_path / "clone"), cache_dir=str(tmp_path / "cache")))


def test_astropy_reads_the_manifest_with_units(built):
    table = Table.read(built / "manifest.parquet")
    rows = pq.read_table(built / "manifest.parquet").to_pylist()
    assert table["ra_deg"].unit == "deg"
    assert list(table["tile_id"]) == [row["tile_id"] for row in rows]
    assert [list(texts) for texts in table["captions"]] == [row["captions"] for row in rows]
    assert list(table["target_class"]) == [str(row["target_class"]) for row in rows]


def test_webdataset_and_duckdb_read_every_sample(built):
    shards = [address for addresses in read_dataset(built).shards.values() for address in addresses]
    pairs = list(
        webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("__key__", "txt", "json", "png")
    )
    assert {key: (text, row) for key, text, row, _ in pairs} == {
        one.tile_id: (one.captions[0], to_row(one)) for one in SAMPLES
    }
    assert all(np.array_equal(image, Image.open(io.BytesIO(PNGS[key])).convert("RGB")) for key, _, _, image in pairs)
    assert [row["cycle"] for _, _, row, _ in pairs[:5]] == [None] * 5
    query = f"SELECT tile_id, cycle, wcs, black FROM '{built}/manifest.parquet'"
    assert set(duckdb.sql(query).fetchall()) == {(one.tile_id, one.cycle, one.wcs, one.black) for one in SAMPLES}


def test_only_a_publication_with_pictures_writes_beside_the_dataset_and_it_removes_what_a_killed_one_left(
    built, tmp_path
):
    before = built.parent.stat().st_mtime_ns
    publish(built, str(tmp_path / "plain"))
    assert built.parent.stat().st_mtime_ns == before
    left = built.parent / f".sky-pictures-{built.name}"
    left.mkdir()
    (left / "old.parquet").write_bytes(b"half")
    publish(built, str(tmp_path / "pictures"), has_pictures=True)
    published = tmp_path / "pictures" / built.name
    assert not left.exists() and not list(published.rglob("old.parquet"))
    assert partitions_of(published / "sky-pictures")


@pytest.mark.nightly
def test_lsdb_opens_the_published_sky_catalogues_and_matches_one_with_another(built, tmp_path, monkeypatch):
    import lsdb
    import pandas as pd

    monkeypatch.setattr("hubbleclip.dataset.hats_catalog.PICTURES_BYTES", 3 * max(map(len, PNGS.values())))
    place = publish(built, str(tmp_path), has_pictures=True)
    pictures = lsdb.open_catalog(f"{place}/sky-pictures")
    assert pictures.npartitions > 1
    rows = pictures.compute()
    assert dict(zip(rows["tile_id"], rows["picture"], strict=True)) == PNGS
    ours = lsdb.open_catalog(f"{place}/sky")
    near = [(one.ra_deg, one.dec_deg + 0.1 / 3600) for one in SAMPLES[::3]]
    other = lsdb.from_dataframe(
        pd.DataFrame([*near, (0.0, -89.0)], columns=["ra", "dec"]), ra_column="ra", dec_column="dec"
    )
    found = ours.crossmatch(other, radius_arcsec=0.2, suffixes=("", "_other")).compute()
    assert set(found["tile_id"]) == {one.tile_id for one in SAMPLES[::3]}
    assert found["_dist_arcsec"].to_numpy() == pytest.approx(0.1, abs=1e-3)
    assert len(ours.compute()) == len(SAMPLES)
    assert len(ours.cone_search(SAMPLES[0].ra_deg, SAMPLES[0].dec_deg, 0.5).compute()) == 1


def test_a_damaged_or_missing_picture_of_a_published_sky_catalogue_is_a_fault(built, tmp_path, monkeypatch):
    monkeypatch.setattr("hubbleclip.dataset.hats_catalog.PICTURES_BYTES", 3 * max(map(len, PNGS.values())))
    place = Path(publish(built, str(tmp_path), has_pictures=True))
    tables = {path: pq.read_table(path, partitioning=None) for path in partitions_of(place / "sky-pictures").values()}
    rows = [row for table in tables.values() for row in table.to_pylist()]
    assert {row["tile_id"]: row["picture"] for row in rows} == PNGS
    assert max(table.num_rows for table in tables.values()) == 3
    assert list(find_faults(place)) == []
    path, table = next(item for item in tables.items() if item[1].num_rows == 3)
    other = pa.array(table["picture"].to_pylist()[::-1], pa.binary())
    pq.write_table(table.set_column(table.column_names.index("picture"), "picture", other), path, compression="zstd")
    pressed = path.read_bytes().replace(b"\xb5\x2f\xfd", b"\xb5\x2f\xfe")  # the signatures of zstd
    for damage in (lambda: None, lambda: path.write_bytes(pressed), path.unlink):
        damage()
        (fault,) = find_faults(place)
        assert f"{path} is damaged" in fault
    metadata = place / "sky-pictures/dataset/_metadata"
    metadata.write_bytes(metadata.read_bytes()[:10])
    (fault,) = find_faults(place)
    assert f"{metadata} is damaged" in fault


def test_a_large_sky_catalogue_has_a_file_per_pixel_and_one_without_positions_is_absent(built, tmp_path):
    index = sky_index(read_dataset(built).manifest)
    write_hats_catalog(tmp_path, index, "many", max_rows=2)
    files, pixels = partitions_of(tmp_path), index["_healpix_29"].to_numpy()
    for (order, npix), path in files.items():
        part = pq.read_table(path, partitioning=None)
        assert 0 < part.num_rows <= 2 < sum(pixels >> 2 * (30 - order) == npix >> 2)  # a larger pixel has too many
        assert set(part["_healpix_29"].to_numpy() >> 2 * (29 - order)) == {npix}
    metadata = pq.read_metadata(tmp_path / "dataset/_metadata")
    listed = [metadata.row_group(number).column(0).file_path for number in range(metadata.num_row_groups)]
    assert [tmp_path / "dataset" / path for path in listed] == list(files.values())
    stated = dict(line.split("=") for line in (tmp_path / "hats.properties").read_text().splitlines())
    assert int(stated["hats_order"]) == max(order for order, _ in files)
    assert float(stated["moc_sky_fraction"]) == pytest.approx(sum(1 / (12 * 4**order) for order, _ in files))
    samples = [replace(one, ra_deg=None, dec_deg=None) for one in SAMPLES]
    folder = built_in(tmp_path, samples, PNGS)
    assert not (folder / "sky").exists()


def test_an_interrupted_publication_resumes_and_uploads_the_description_last(built, tmp_path):
    target = tmp_path / built.name
    assert publish(built, str(tmp_path)) == str(target)
    (target / "dataset.json").unlink()
    (target / "manifest.parquet").unlink()
    (target / "README.md").write_text("half")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    publish(built, str(tmp_path))
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    sent = {path.name for path in after if after[path] != before.get(path)}
    assert sent == {"manifest.parquet", "README.md", "dataset.json"}
    assert after[target / "manifest.parquet"] <= after[target / "dataset.json"]
    assert list(find_faults(target)) == []
    assert contents(target) == contents(built)
