"""Peers for tiles, each a child process in an environment of its own that runs one job at a time."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.environments import PEERS, peer_python

LIBRARIES = "fitsio + fitsbolt 0.3 + OpenCV + webdataset"
ASTROCUT, FITSBOLT, CUTANA = "astrocut 1.4 img_cut", "fitsio + fitsbolt 0.3 + OpenCV", "Cutana 0.4 in its process"
ASTROSCRAPPY = "astropy + astroscrappy + Pillow + tarfile"
SCRIPTS = {
    "tiles_libraries.py": (
        "fitsio==1.4.2",
        "fitsbolt==0.3.1",
        "opencv-python-headless",
        "webdataset==1.0.2",
        "astrocut==1.4.0",
        "astroscrappy==1.3.0",
        "Pillow",
        "matplotlib",
    ),
    "tiles_cutana.py": ("cutana==0.4.0",),
}
ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class PeerProcess:
    """A peer's script in its own Python, one job at a time."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def run(self, job: str, paths: Sequence[Path], out: Path, size_px: int) -> int:
        """Run a job and return the number of tiles. Raises RuntimeError if the script ended."""
        line: dict[str, Any] = {"job": job, "paths": [str(path) for path in paths], "out": str(out), "size_px": size_px}
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps(line) + "\n")
        self._child.stdin.flush()
        response = self._child.stdout.readline()
        if not response:
            raise RuntimeError(f"the peer's script ended during the job {job}")
        return int(response)


@contextmanager
def peer_process(script: str) -> Iterator[PeerProcess | None]:
    """Start a script; yield None if its packages are not installed."""
    python = peer_python(script.removesuffix(".py"), *SCRIPTS[script])
    if python is None:
        yield None
        return
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([python, PEERS / script], text=True, env=os.environ | ONE_CORE, **streams) as child:
        yield PeerProcess(child)
        assert child.stdin is not None
        child.stdin.close()
