"""Version of the code that produced an output: the release number and, inside a git checkout, the commit."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from hubbleclip import __version__


@cache
def code_version() -> str:
    """Determine the version of the running code."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return __version__
    # `--exclude=*` ignores tags; otherwise git would print the name of a tag instead of the commit's hash.
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=.dirty", "--exclude=*"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{commit}"
