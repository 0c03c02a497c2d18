"""On a full or read-only disk each run ends in one line, and the next run succeeds when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import SMALL, Outcome, run

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

TINY = SMALL | {
    "fetch.min_free_gb": 0,
    "simulator.num_proposals": 16,
    "simulator.frame_px": 128,
    "tiles.size_px": 96,
}
SIZES_MB = (1, 4, 16, 40, 110)
ENOUGH_MB = 600


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a separate file system, whose size the tests change."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def pipeline(disk: Path, *words: str) -> Outcome:
    return run("pipeline", *words, data=disk / "data", settings=TINY)


def assert_one_line(outcome: Outcome, name: str) -> None:
    lines = [line for line in outcome.err.splitlines() if line.startswith("hubbleclip: ")]
    assert outcome.code == 2, f"{name}: {outcome.err}"
    assert "Traceback" not in outcome.err, f"{name}: {outcome.err}"
    assert lines == [outcome.err.splitlines()[-1]], f"{name}: {outcome.err}"
    assert "make room" in lines[0], f"{name}: {lines[0]}"


def test_runs_on_a_growing_disk_end_in_one_line_until_the_last_one_succeeds(disk: Path) -> None:
    for number, size_mb in enumerate(SIZES_MB):
        remount(disk, f"size={size_mb}m")
        words = () if number % 3 == 1 else ("--no-server",)
        assert_one_line(pipeline(disk, *words), f"{size_mb} MB {words}")
    remount(disk, f"size={ENOUGH_MB}m")
    outcome = pipeline(disk, "--no-server")
    assert outcome.code == 0, outcome.err
    assert not list((disk / "data").rglob("*.tmp"))


@pytest.mark.parametrize("words", [("--no-server",), ()], ids=["plain", "Prefect"])
def test_a_read_only_disk_is_one_line(words: tuple[str, ...], disk: Path) -> None:
    remount(disk, "ro")
    assert_one_line(pipeline(disk, *words), "read-only")
