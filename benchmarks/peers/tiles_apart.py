"""Runs `tiles_shelf.py` in an environment of its own, made by venv and pip in a folder that later runs find again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = ("fitsio==1.4.2", "fitsbolt==0.3.1", "opencv-python-headless", "webdataset==1.0.2", "astrocut==1.4.0")
SHELF = "fitsio + fitsbolt 0.3 + OpenCV + webdataset"
ASTROCUT, FITSBOLT = "astrocut 1.4 img_cut", "fitsio + fitsbolt 0.3 + OpenCV"
SCRIPT = Path(__file__).with_name("tiles_shelf.py")


class Apart:
    """The script in its own Python, one job at a time."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def ask(self, job: str, paths: Sequence[Path], out: Path, size_px: int) -> int:
        """Do a job; returns the number of tiles. Raises RuntimeError where the script ended."""
        line: dict[str, Any] = {"job": job, "paths": [str(path) for path in paths], "out": str(out), "size_px": size_px}
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps(line) + "\n")
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peers' script ended during {job}")
        return int(answer)


@contextmanager
def peers_apart(cache: Path) -> Iterator[Apart | None]:
    """The peers, or None, with a line that says why, where their packages cannot be installed."""
    python = cache / "bin" / "python"
    try:
        if not python.is_file():
            subprocess.run([sys.executable, "-m", "venv", cache], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"left out, since it cannot be installed: {SHELF}, astrocut ({error})")
        yield None
        return
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([python, SCRIPT], text=True, **streams) as child:
        yield Apart(child)
        assert child.stdin is not None
        child.stdin.close()
