"""Files are written whole or not at all."""

import errno
import fcntl
import io
import os
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import (
    TooLargeError,
    atomic_write,
    chunks,
    has_sha256,
    locked,
    make_folder,
    read_bounded,
    sha256_bytes,
    write_bytes,
)


@pytest.mark.parametrize("is_synced", [True, False])
def test_failure_keeps_the_old_file_and_nothing_stands_beside_it(tmp_path: Path, is_synced: bool) -> None:
    path = tmp_path / "deep" / "a"
    write_bytes(path, b"old", is_synced=is_synced)

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError

    with pytest.raises(OSError):
        fail()
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["a"]


def test_a_file_or_a_stream_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path, data = tmp_path / "a", b"x" * 600_000
    path.write_bytes(data)
    for read in (
        lambda limit: read_bounded(path, limit),
        lambda limit: b"".join(chunks(io.BytesIO(data).read, limit)),
    ):
        assert read(len(data)) == data
        with pytest.raises(TooLargeError, match="599999"):
            read(len(data) - 1)
    with pytest.raises(TimeoutError, match="within 0 s"):
        list(chunks(io.BytesIO(data).read, len(data), 0))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="fifo is not a file"):
        read_bounded(tmp_path / "fifo", 9)
    assert has_sha256(path, sha256_bytes(data))
    assert not has_sha256(path, sha256_bytes(b"y"))


@pytest.mark.parametrize(
    ("number", "is_lost"), [(errno.ENOENT, True), (errno.EIO, True), (errno.EACCES, False), (errno.ESTALE, False)]
)
def test_a_file_that_cannot_be_read_for_now_is_not_taken_for_another(
    number: int, is_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(Path, "open", fail)
    with nullcontext() if is_lost else pytest.raises(OSError):
        assert not has_sha256(Path("a"), None)


@pytest.mark.parametrize("place", ["taken", "taken/below", f"taken{'x' * 300}", "/proc/taken"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(HubbleclipError, match=r"taken.* cannot be used \(.+\): check its permissions, or set --data"):
        make_folder(tmp_path / place)


def test_users_of_a_group_share_a_lock(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with locked(tmp_path / "runs"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / ".runs.lock").stat().st_mode & 0o777 == 0o664


def test_a_look_at_a_lock_does_not_keep_another_process_from_it(tmp_path: Path) -> None:
    with (tmp_path / ".runs.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as `state_of` of a run
        threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with locked(tmp_path / "runs", wait=False), pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
