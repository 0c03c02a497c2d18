"""A process ends with its own exit code, after all exit handlers, and no library prints after its last line."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import SMALL, run

LEAK = """
import atexit, os, sys
from hubbleclip.cli import app
class Leaked:
    def __del__(self, write=os.write):
        write(2, b"leaked: printed while the interpreter is finalized")
leaked = Leaked()
def main():
    atexit.register(print, "handler", file=sys.stderr)
    {end}
app.main = main
app.run()
"""


@pytest.mark.parametrize(
    ("end", "code"), [("pass", 0), ("sys.exit(2)", 2), ("sys.exit()", 0), ("sys.exit(130)", 130), ("1 / 0", 1)]
)
def test_exit_handlers_run_and_nothing_follows_them(end: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAK.format(end=end)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code
    assert done.stderr.splitlines()[-1] == "handler"


@pytest.mark.slow
def test_a_training_ends_with_its_own_line(tmp_path: Path) -> None:
    assert run("dataset", data=tmp_path, settings=SMALL).code == 0
    done = run("train", data=tmp_path, settings=SMALL)
    assert done.code == 0
    assert done.err.splitlines()[-1].endswith(" is ready")
