"""Version of the code that produced an output: the release, and the git commit in a checkout."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from hubbleclip import __version__


@cache
def code_version() -> str:
    """Version of the running code.

    Returns
    -------
    str
        Such as `0.1.0+g1a2b3c4`, with `.dirty` for uncommitted changes; the release alone outside a checkout.

    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return __version__
    # `--exclude=*` ignores tags, which would come in place of the commit's hash.
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=.dirty", "--exclude=*"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+g{commit}"
