"""Files are written whole or not at all."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import (
    SYNCFS_MIN_FILES,
    atomic_write,
    is_locked,
    lock_file,
    locked,
    make_folder,
    sync_files,
    write_bytes,
)


@pytest.mark.parametrize("is_synced", [True, False])
def test_written_file_has_the_content_and_nothing_stands_beside_it(tmp_path: Path, is_synced: bool) -> None:
    write_bytes(tmp_path / "deep" / "a.txt", b"sky", is_synced=is_synced)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_text() == "sky"


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError

    with pytest.raises(OSError):
        fail()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("num", [1, SYNCFS_MIN_FILES])
def test_syncing_passes_over_what_is_gone(tmp_path: Path, num: int) -> None:
    paths = [tmp_path / str(i) for i in range(num)]
    for path in paths:
        path.write_bytes(b"sky")
    sync_files([*paths, tmp_path / "gone"])
    assert {path.read_bytes() for path in paths} == {b"sky"}


@pytest.mark.parametrize("place", ["taken", "taken/below", f"taken{'x' * 300}", "/proc/taken"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(HubbleclipError, match=r"taken.* cannot be used \(.+\): check its permissions, or set --data"):
        make_folder(tmp_path / place)


def test_users_of_a_group_share_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o002)
    try:
        with locked(tmp_path / "runs"):
            assert is_locked(tmp_path / "runs")
    finally:
        os.umask(before)
    assert lock_file(tmp_path / "runs").stat().st_mode & 0o777 == 0o664
    assert not is_locked(tmp_path / "runs")

    def denied(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", denied)  # the file of a user of another group
    assert is_locked(tmp_path / "runs")


def test_a_look_at_a_lock_does_not_keep_another_process_from_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    lock_file(folder).touch()
    with lock_file(folder).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as `is_locked`
        threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with locked(folder, wait=False):
            assert is_locked(folder)
