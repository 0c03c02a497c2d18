"""What a power failure may leave of a dataset and of the catalog, by a recorder of what is flushed before each rename."""

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from synthetic_samples import build, make_samples_with_pngs
from valid_catalog import valid_rows

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout


class Disk:
    """What was flushed below a folder: content of files and entries of folders, by inode."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.flushed = root, {}
        self.lost_at_rename = {}
        """By target: what a power failure before the rename would lose of the folder in which or of which it is."""
        fsync, moves = os.fsync, {name: getattr(os, name) for name in ("rename", "replace")}
        monkeypatch.setattr(os, "fsync", lambda handle: (fsync(handle), self.flush(Path(f"/proc/self/fd/{handle}"))))
        library = SimpleNamespace(syncfs=lambda _: any(map(self.flush, [root, *root.rglob("*")])))
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
        for name, move in moves.items():
            monkeypatch.setattr(os, name, lambda *ends, move=move: self.rename(move, *map(Path, ends)))

    def flush(self, path: Path) -> None:
        self.flushed[path.stat().st_ino] = content_of(path)

    def rename(self, move, source: Path, target: Path) -> None:
        if source.is_dir() or target.name in {"dataset.json", "catalog.duckdb"}:
            self.lost_at_rename[target] = self.lost(source if source.is_dir() else source.parent)
        move(source, target)

    def lost(self, folder: Path) -> set[str]:
        """Names of files and folders that are not as they are now after a power failure; a temporary one may go."""
        lost = set()
        for path in folder.rglob("*"):
            entry = (path.name, path.stat().st_ino)
            is_listed = path.suffix == ".tmp" or entry in self.flushed.get(path.parent.stat().st_ino, ())
            is_whole = path.is_dir() or self.flushed.get(entry[1]) == content_of(path)
            lost |= set() if is_listed and is_whole else {path.name}
        return lost


def content_of(path: Path) -> object:
    return {(one.name, one.inode()) for one in os.scandir(path)} if path.is_dir() else path.read_bytes()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path, monkeypatch)


def test_a_dataset_gets_its_description_and_its_name_when_all_else_is_on_the_disk(disk: Disk) -> None:
    samples, pngs = make_samples_with_pngs()
    build(samples[:30], pngs, disk.root)
    assert [path.name for path in disk.lost_at_rename] == ["dataset.json", next(disk.root.iterdir()).name]
    assert [*disk.lost_at_rename.values(), disk.lost(disk.root)] == [set()] * 3


def test_a_snapshot_replaces_the_one_before_when_it_is_on_the_disk(disk: Disk) -> None:
    layout = Layout(disk.root / "demo")
    with writing_catalog(layout) as catalog:
        catalog.upsert(valid_rows())
    (lost,) = disk.lost_at_rename.values()
    assert not any(name.endswith(".tmp") for name in lost)
    assert layout.catalog.name not in disk.lost(layout.root)
