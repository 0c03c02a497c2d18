"""Peers that do not fit our environment run in one of their own, made once below `benchmarks/.envs`."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ENVIRONMENTS = Path(__file__).parent / ".envs"
PEERS = Path(__file__).parent / "peers"


def peer_python(name: str, *packages: str) -> Path | None:
    """The interpreter of an environment with these packages; None, and a line that says so, where they do not install.

    The mark is written last, so that a half-made environment is made again.
    """
    folder = ENVIRONMENTS / name
    python, mark = folder / "bin/python", folder / "packages.txt"
    wanted = "\n".join(packages)
    if mark.is_file() and mark.read_text() == wanted:
        return python
    venv.create(folder, clear=True, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        print(f"{name} is left out: its packages do not install ({reason})", file=sys.stderr)
        return None
    mark.write_text(wanted)
    return python


def run_peer(python: Path, script: str, **arguments: Any) -> Any:
    """What `benchmarks/peers/<script>` prints last, as JSON; it is given its arguments as one JSON object."""
    command = [python, PEERS / script, json.dumps(arguments, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
