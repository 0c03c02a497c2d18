"""Which code made a thing: the release, and the git commit where the code runs from a checkout."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from hubbleclip import __version__


@cache
def code_version() -> str:
    """Such as `0.1.0+g1a2b3c4`, with `.dirty` for uncommitted changes; the release alone outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return __version__
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=.dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{found}"
