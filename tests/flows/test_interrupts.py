"""Ctrl-C in a terminal ends a stage with one line, and nothing remains, however often the key is pressed."""

import fcntl
import json
import os
import pty
import re
import shutil
import subprocess
import termios
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import SMALL, command, environment, run
from rich.table import Table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TINY = SMALL | {
    "simulator.num_proposals": 16, "train.steps": 4, "train.validate_every": 4, "train.checkpoint_every": 2,
    "evaluation.shuffled_steps": 0, "evaluation.bootstrap": 100, "evaluation.num_example_tiles": 1,
}  # fmt: skip
WORK: dict[str, dict[str, object]] = {
    "ingest": {"simulator.num_proposals": 200},
    "tiles": {"tiles.white_quantile": 0.99, "flows.batch_size": 1},
    "shards": {"shards.max_mb": 1},
    "train": {"train.steps": 100_000},
    "evaluate": {"evaluation.bootstrap": 101},
    "index": {"index.batch_size": 1},
}
"""Settings that give a stage work on finished data, by stage; `ingest` begins without data."""
MARK = "HELD_BY"
PATIENCE_S = 240  # a busy machine takes a minute to start a stage


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("finished") / "data"
    outcome = run("pipeline", "--no-server", data=data, settings=TINY)
    assert outcome.code == 0, outcome.err
    return data


def until(is_true: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert process is None or process.poll() is None, "the command ended before Ctrl-C"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes(mark: str) -> list[Path]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            is_zombie = ") Z" in (folder / "stat").read_text()
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in variables and not is_zombie:
            found.append(folder)
    return found


def works(data: Path, stage: str, process: subprocess.Popen[bytes]) -> bool:
    """The stage holds the catalog's lock; training, which does not open the catalog, has written a checkpoint."""
    if stage == "train":
        return len(list((data / "demo/runs").glob("*/checkpoints/*.pt"))) > 1
    try:
        return bool(json.loads((data / "demo/catalog.lock").read_text())["pid"] == process.pid)
    except (OSError, ValueError):
        return False


@pytest.mark.parametrize("presses", [1, 3])
@pytest.mark.parametrize("stage", WORK)
def test_ctrl_c_ends_a_stage_with_one_line(
    stage: str, presses: int, request: pytest.FixtureRequest, tmp_path: Path, tables: list[Table]
) -> None:
    data, mark = tmp_path / "data", uuid.uuid4().hex
    if stage != "ingest":
        shutil.copytree(request.getfixturevalue("finished"), data)
    shutil.rmtree(data / "demo" / {"train": "runs", "index": "index"}.get(stage, "nothing"), ignore_errors=True)
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        command(stage, data=data, settings=TINY | WORK[stage]), stdin=terminal, stdout=terminal, stderr=terminal,
        env=environment() | {MARK: mark}, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread of ours runs yet
    )  # fmt: skip
    os.close(terminal)
    screen = bytearray()

    def read() -> None:
        try:
            while part := os.read(keyboard, 4096):
                screen.extend(part)
        except OSError:  # the last process has closed the terminal
            return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    until(lambda: works(data, stage, process), process)
    pressed = time.monotonic()
    for _ in range(presses):
        os.write(keyboard, b"\x03")
        time.sleep(0.1)
    code = process.wait(PATIENCE_S)
    took_s = time.monotonic() - pressed
    until(lambda: not processes(mark))
    reader.join(PATIENCE_S)
    os.close(keyboard)
    shown = re.sub(r"\x1b\[[\d?;]*[A-Za-z]", "", screen.decode(errors="replace"))  # colours and cursor
    after = re.split(r"[\r\n]+", shown.split("^C", 1)[1].replace("^C", ""))
    lines = [line for line in after if line.strip() and "━" not in line]  # a bar may be drawn once more
    assert lines == ["hubbleclip: stopped; run the same command again to resume"]
    assert b"\x1b[?25l" not in screen.rpartition(b"\x1b[?25h")[2], "the cursor is hidden"
    assert code == 130
    tables.append(Table(title=f"{stage}, Ctrl-C {presses} times: {took_s:.1f} s"))
