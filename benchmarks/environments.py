"""Peers that do not fit our environment run in one of their own, made once below `benchmarks/.envs`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ENVIRONMENTS = Path(__file__).parent / ".envs"
PEERS = Path(__file__).parent / "peers"


def peer_python(name: str, *packages: str) -> Path | None:
    """The interpreter of an environment with these packages; None, after a line that says so, where they do not fit."""
    folder = ENVIRONMENTS / name
    python = folder / "bin/python"
    ready = _installed(folder, packages, lambda: venv.create(folder, clear=True, with_pip=True), [python, "-m", "pip"])
    return python if ready else None


def peer_packages(name: str, *packages: str) -> Path | None:
    """A folder with these packages and not what they need, to stand before ours on a peer's path; else as above."""
    folder = ENVIRONMENTS / name
    pip = [sys.executable, "-m", "pip"]
    ready = _installed(
        folder, packages, lambda: shutil.rmtree(folder, ignore_errors=True), pip, "--no-deps", "--target", folder
    )
    return folder if ready else None


def _installed(
    folder: Path, packages: Sequence[str], clear: Callable[[], object], pip: Sequence[Path | str], *options: Path | str
) -> bool:
    """The mark is written last, so that a half-made environment is made again."""
    mark, wanted = folder / "packages.txt", "\n".join(packages)
    if mark.is_file() and mark.read_text() == wanted:
        return True
    clear()
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", *options, *packages]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        print(f"{folder.name} is left out: its packages do not install ({reason})", file=sys.stderr)
        return False
    mark.write_text(wanted)
    return True


def run_peer(python: Path | str, script: str, **arguments: Any) -> Any:
    """What `benchmarks/peers/<script>` prints last, as JSON; it is given its arguments as one JSON object."""
    command = [python, PEERS / script, json.dumps(arguments, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
