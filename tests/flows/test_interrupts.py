"""Ctrl-C in a terminal ends a command with one line, and nothing remains, however often the key is pressed."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from commands import SMALL, command, environment, processes, until

from hubbleclip.cli.app import RESUMED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WORK: dict[str, dict[str, object]] = {
    "ingest": {"simulator.num_proposals": 200},
    "pipeline": {"simulator.num_proposals": 200},
    "tiles": {"tiles.white_quantile": 0.99, "flows.batch_size": 1},
    "shards": {"shards.max_mb": 1},
    "train": {"train.steps": 100_000},
    "evaluate": {"evaluation.bootstrap": 101},
    "index": {},
}
"""Settings that give a stage work on finished data, by stage; `ingest` and `pipeline` begin without data, `index` without an index."""
ENDLESS_QUERY = "SELECT count(*) FROM range(100000000000) a, range(10) b"
NIGHTLY = [pytest.mark.nightly]
PATIENCE_S = 240  # a busy machine takes a minute to start a stage


def works(data: Path, stage: str, process: subprocess.Popen[bytes]) -> bool:
    """The stage holds the catalog's lock; training, which does not open the catalog, has written a checkpoint."""
    if stage == "train":
        return len(list((data / "demo/runs").glob("*/checkpoints/*.pt"))) > 1
    try:
        return bool(json.loads((data / "demo/catalog.lock").read_text())["pid"] == process.pid)
    except (OSError, ValueError):
        return False


RESUMABLE = "hubbleclip: stopped; run the same command again to resume"


def press_ctrl_c(
    argv: list[str], presses: int, is_ready: Callable[[subprocess.Popen[bytes], bytearray], object]
) -> None:
    """Run a command in a terminal, and press Ctrl-C when it is ready.

    It must end with the one line and its code, and leave no process and no hidden cursor.
    """
    mark = uuid.uuid4().hex
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        argv,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment() | {"HELD_BY": mark},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread of ours runs yet
    )
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
    until(lambda: is_ready(process, screen), "Ctrl-C", PATIENCE_S, wait_s=0.01, process=process)
    for _ in range(presses):
        os.write(keyboard, b"\x03")
        time.sleep(0.1)
    code = process.wait(PATIENCE_S)
    until(lambda: not processes(f"HELD_BY={mark}"), "the end of the last process")
    reader.join(PATIENCE_S)
    os.close(keyboard)
    shown = re.sub(r"\x1b\[[\d?;]*[A-Za-z]", "", screen.decode(errors="replace"))  # colours and cursor
    after = re.split(r"[\r\n]+", shown.split("^C", 1)[1].replace("^C", ""))
    lines = [line for line in after if line.strip() and "━" not in line]  # a bar may be drawn once more
    assert lines == [RESUMABLE if argv[3] in RESUMED else "hubbleclip: stopped"]
    assert b"\x1b[?25l" not in screen.rpartition(b"\x1b[?25h")[2], "the cursor is hidden"
    assert code in {130, -signal.SIGALRM}  # the kernel ends a process whose library keeps the interpreter busy


@pytest.mark.parametrize(
    ("stage", "presses"),
    [
        pytest.param(stage, presses, marks=[] if (stage, presses) in (("pipeline", 1), ("train", 3)) else NIGHTLY)
        for stage in WORK
        for presses in (1, 3)
    ],
)
def test_ctrl_c_ends_a_stage_with_one_line(
    stage: str, presses: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    if stage not in ("ingest", "pipeline"):
        shutil.copytree(request.getfixturevalue("finished_demo"), data)
    shutil.rmtree(data / "demo" / {"train": "runs", "index": "index"}.get(stage, "nothing"), ignore_errors=True)
    argv = command(stage, data=data, settings=SMALL | WORK[stage])
    press_ctrl_c(argv, presses, lambda process, _: works(data, stage, process))


def is_served(screen: bytearray) -> bool:
    """The server whose address is on the screen accepts connections."""
    address = re.search(rb"http://127\.0\.0\.1:(\d+)", screen)
    with socket.socket() as client:
        return address is not None and client.connect_ex(("127.0.0.1", int(address[1]))) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("sql", ENDLESS_QUERY),
        *(pytest.param(words, marks=NIGHTLY) for words in (("serve", "--port", "0"), ("server",))),
    ],
    ids=lambda w: w[0],
)
def test_ctrl_c_ends_a_query_and_a_server_with_one_line(
    words: tuple[str, ...], finished_demo: Path, tmp_path: Path
) -> None:
    def is_ready(process: subprocess.Popen[bytes], screen: bytearray) -> bool:
        if words[0] == "sql":  # the query runs in a process of its own
            return any(sum(one.cpu_times()[:2]) > 1 for one in psutil.Process(process.pid).children())
        return is_served(screen)

    if words[0] == "server":
        with socket.create_server(("127.0.0.1", 0)) as free:
            words = (*words, "--port", str(free.getsockname()[1]))
    press_ctrl_c(command(*words, data=shutil.copytree(finished_demo, tmp_path / "data")), 1, is_ready)
