"""Virtual environments for peers whose packages conflict with ours, created once in `benchmarks/.envs`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import QUICK, progress

ENVIRONMENTS = Path(__file__).parent / ".envs"
PEERS = Path(__file__).parent / "peers"


def peer_python(name: str, *packages: str) -> Path | None:
    """Return the interpreter of an environment with these packages; None if they are not installed."""
    folder = ENVIRONMENTS / name
    python = folder / "bin/python"
    ready = _installed(folder, packages, lambda: venv.create(folder, clear=True, with_pip=True), [python, "-m", "pip"])
    return python if ready else None


def peer_packages(name: str, *packages: str) -> Path | None:
    """Return a folder with these packages without dependencies, to precede ours on a peer's path; None as above."""
    folder = ENVIRONMENTS / name
    pip = [sys.executable, "-m", "pip"]
    ready = _installed(
        folder, packages, lambda: shutil.rmtree(folder, ignore_errors=True), pip, "--no-deps", "--target", folder
    )
    return folder if ready else None


def _installed(
    folder: Path, packages: Sequence[str], clear: Callable[[], object], pip: Sequence[Path | str], *options: Path | str
) -> bool:
    """Whether the packages are installed, now or by an earlier run; a line on stderr says why if not.

    QUICK=1 installs nothing, because that alone may take minutes.
    """
    mark, content = folder / "packages.txt", "\n".join(packages)
    if mark.is_file() and mark.read_text() == content:
        return True
    if QUICK:
        progress(f"skipping the peers of {folder.name}: not installed, and QUICK=1 installs nothing")
        return False
    progress(f"installing {len(packages)} packages for the peers of {folder.name}")
    clear()
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", *options, *packages]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        progress(f"skipping the peers of {folder.name}: pip install fails ({reason})")
        return False
    mark.write_text(content)  # written last: a partial environment is created again
    return True


def run_peer(python: Path | str, script: str, **arguments: Any) -> Any:
    """Run `benchmarks/peers/<script>` with its arguments as one JSON object; return its last line, parsed as JSON."""
    command = [python, PEERS / script, json.dumps(arguments, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
