"""Compiled loops with bounds checks on: the tests of the images reach no place outside an array."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.nightly, pytest.mark.attack]
ROOT = Path(__file__).parents[2]


def test_no_compiled_loop_reaches_outside_an_array(tmp_path: Path) -> None:
    """Numba's own cache would give code without the checks, so that this run has a cache of its own."""
    variables = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "tests/images"]
    words += ["--deselect", "tests/images/test_compiling.py"]  # looks for the cache at its usual place
    done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert list(tmp_path.rglob("*.nbi"))
