"""Files behind a URL: a machine with an empty disk goes on from the store, and two writers never undo each other."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from commands import SMALL, ask, files_below, go
from fsspec.implementations.local import LocalFileSystem
from s3fs.core import calculate_chunksize
from stages import observation

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.io import write_text
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline import remote_store
from hubbleclip.pipeline.remote_store import local_files, pull, pull_folder, push, push_folder, synchronised_catalog
from tests.archives.s3_servers import BUCKET, s3_of_the_environment

NIGHT = SMALL | {
    "simulator.num_proposals": 14,
    "store": f"s3://{BUCKET}/copies",
    "keep_local": False,
}


@pytest.fixture(scope="module")
def s3():
    with s3_of_the_environment():
        yield


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_machines_with_empty_disks_train_and_evaluate_from_the_store_alone(s3, tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    go("dataset", data=first, settings=NIGHT)
    assert files_below(first / "demo/products") == files_below(first / "demo/tiles") == []
    assert ask(first, "SELECT count(*) > 0 FROM tile") == [(True,)]

    elsewhere = NIGHT | {"archive.mast_url": "http://127.0.0.1:9"}
    go("train", data=second, settings=elsewhere)
    go("evaluate", data=third, settings=elsewhere)
    assert not (second / "demo/products").exists()
    assert ask(third, "SELECT digest FROM dataset") == ask(first, "SELECT digest FROM dataset")
    assert [path.name for path in (third / "demo/runs").iterdir()] == [
        path.name for path in (second / "demo/runs").iterdir()
    ]

    go("shards", data=first, settings=NIGHT)
    for name in ("run", "report", "promotion"):
        assert ask(first, f"SELECT count(*) FROM {name}") == [(1,)]


def machine(tmp_path: Path, name: str, *, keep_local: bool = True) -> Layout:
    return Layout(tmp_path / name, f"file://{tmp_path}/store", keep_local)


def write_row(layout: Layout, obs_id: str) -> None:
    with synchronised_catalog(layout), writing_catalog(layout) as catalog:
        catalog.upsert({"observation": [observation(obs_id)]})


def names(layout: Layout) -> list[str]:
    with read_catalog(layout) as catalog:
        return [row["obs_id"] for row in catalog.rows("SELECT obs_id FROM observation ORDER BY 1")]


def test_machines_that_write_in_turn_see_each_others_rows(tmp_path: Path) -> None:
    one, other = machine(tmp_path, "one"), machine(tmp_path, "other")
    for layout, name in ((one, "a"), (other, "b"), (one, "c")):
        write_row(layout, name)
    assert names(one) == ["a", "b", "c"]
    assert names(other) == ["a", "b"]
    elsewhere = replace(one, store=f"file://{tmp_path}/new")  # it has no catalog yet, and is no former one
    write_row(elsewhere, "d")
    write_row(replace(other, root=tmp_path / "third", store=elsewhere.store), "e")
    write_row(elsewhere, "f")
    assert names(elsewhere) == ["a", "b", "c", "d", "e", "f"]


def test_a_catalog_that_is_published_while_another_is_sent_is_sent_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, put = machine(tmp_path, "one"), machine(tmp_path, "other"), LocalFileSystem.put_file

    def publish_meanwhile(*given: object, **named: object) -> None:
        monkeypatch.undo()
        with writing_catalog(one) as catalog:
            catalog.upsert({"observation": [observation("b")]})
        put(*given, **named)

    monkeypatch.setattr(LocalFileSystem, "put_file", publish_meanwhile)
    write_row(one, "a")
    for layout in (one, other):
        with synchronised_catalog(layout):
            pass
    assert names(other) == ["a", "b"]


@pytest.mark.parametrize("before", [["a"], []], ids=["after a run", "in an empty store"])
def test_what_another_machine_wrote_meanwhile_is_never_overwritten(before: list[str], tmp_path: Path) -> None:
    one, other = machine(tmp_path, "one"), machine(tmp_path, "other")
    for name in before:
        write_row(one, name)
    with pytest.raises(CatalogError, match="both changed"), synchronised_catalog(one):
        with writing_catalog(one) as catalog:
            catalog.upsert({"observation": [observation("lost")]})
        write_row(other, "b")
    with pytest.raises(CatalogError, match="run again"):
        write_row(one, "c")
    for path in one.root.glob("catalog.*"):
        path.unlink()
    write_row(one, "c")
    assert names(one) == [*before, "b", "c"]


def test_files_made_before_there_was_a_store_are_sent_with_the_first_catalog(tmp_path: Path) -> None:
    one, other = machine(tmp_path, "one"), machine(tmp_path, "other")
    write_text(one.tiles / "ab/old.png", "old")
    write_row(one, "a")
    assert [path.read_text() for path in pull(other, ["tiles/ab/old.png", "tiles/ab/none.png"])] == ["old"]


def test_without_keep_local_files_are_here_only_while_they_are_needed(tmp_path: Path) -> None:
    layout = machine(tmp_path, "one", keep_local=False)
    write_text(layout.root / "tiles/a.png", "sent")
    write_text(layout.root / "tiles/b.png", "never sent")
    push(layout, ["tiles/a.png"])
    assert not (layout.root / "tiles/a.png").exists()
    with local_files(layout, ["tiles/a.png", "tiles/b.png"]):
        assert (layout.root / "tiles/a.png").read_text() == "sent"
    assert [path.name for path in files_below(layout.tiles)] == ["b.png"]


def test_all_descriptions_are_fetched_and_the_shards_of_the_newest_dataset_from_wherever_they_are(
    tmp_path: Path,
) -> None:
    layout, older, newest = machine(tmp_path, "one"), "a" * 32, "b" * 32
    shard = {"sha256": "c" * 64, "size_bytes": 1, "num_samples": 1}
    shards = [
        {"shard": f"{split}-000000.tar", "split": split, "home_digest": home} | shard
        for split, home in (("train", None), ("val", older))
    ]
    texts = {"digest": newest, "inputs_digest": older, "contract_version": "1", "shards": shards}
    described = json.dumps(texts | {name: {} for name in ("counts", "files", "split_report")})
    for name, digest in product(("dataset.json", "train-000000.tar", "val-000000.tar"), (older, newest)):
        write_text(tmp_path / f"store/datasets/{digest}/{name}", described)
    found = ("a/dataset.json", "b/dataset.json")
    for place, files in ((None, ()), (layout.datasets / newest, ("b/train-000000.tar", "a/val-000000.tar"))):
        remote_store.pull_datasets(layout, place)
        assert {path.parent.name[0] + "/" + path.name for path in files_below(layout.datasets)} == {*found, *files}


def test_a_folder_comes_back_as_it_was_without_unfinished_files(tmp_path: Path) -> None:
    one, other = machine(tmp_path, "one"), machine(tmp_path, "other")
    for name in ("run.json", "deep/step.pt", ".building/x", "deep/.part"):
        write_text(one.runs / "r1" / name, name)
    push_folder(one, one.runs / "r1")
    write_text(one.runs / "r1/run.json", json.dumps({"at": datetime.now(UTC).isoformat()}))
    push_folder(one, one.runs / "r1")
    pull_folder(other, other.runs / "r1")
    assert {path.relative_to(other.runs).as_posix() for path in files_below(other.runs)} == {
        "r1/run.json",
        "r1/deep/step.pt",
    }
    assert (other.runs / "r1/run.json").read_bytes() == (one.runs / "r1/run.json").read_bytes()


@pytest.mark.parametrize("scheme", ["file", "s3"])
def test_a_file_of_the_same_size_with_other_content_is_sent_and_an_unchanged_one_is_not(
    s3, tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{BUCKET}/{tmp_path.name}" if scheme == "s3" else f"file://{tmp_path}/store"
    one, other = (replace(machine(tmp_path, name), store=url) for name in ("one", "other"))
    assert calculate_chunksize(101 * 2**20) == remote_store.PART_BYTES
    part = 5 * 2**20  # the smallest that S3 allows; s3fs sends files of two parts and more in parts
    monkeypatch.setattr(remote_store, "PART_BYTES", part)
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda *_, **__: part)
    folder, large = one.index / ("a" * 32), bytearray(2 * part + 2**20)
    folder.mkdir(parents=True)

    for name, content in (("rows.f16", large), ("rows.i8", b"old"), ("same.parquet", b"x")):
        (folder / name).write_bytes(content)
    push_folder(one, folder)
    large[7] = 1
    (folder / "rows.f16").write_bytes(large)
    (folder / "rows.i8").write_bytes(b"new")
    os.utime(folder / "rows.i8", (0, 0))  # as a file that was restored
    push_folder(one, folder)
    pull_folder(other, other.index)
    for name in ("rows.f16", "rows.i8", "same.parquet"):
        assert (other.index / folder.name / name).read_bytes() == (folder / name).read_bytes(), name
    sends: list[list[Path]] = []
    monkeypatch.setattr(remote_store, "_put", lambda _, paths: sends.append(list(paths)))
    push_folder(one, folder)
    assert sends == [[], []]
