"""What a command loads is left alone when garbage is sought."""

from __future__ import annotations

import subprocess
import sys

import pytest

TOLD = """
import gc
from flows.loading import load
before = gc.get_freeze_count()
try:
    print(load({name!r}).__name__, gc.isenabled(), gc.get_freeze_count() > before)
except ImportError:
    print("missing", gc.isenabled(), gc.get_freeze_count() > before)
"""


@pytest.mark.parametrize(
    ("name", "expected"), [("status", "hubbleclip.pipeline.status True True"), ("none", "missing True True")]
)
def test_garbage_is_sought_again_once_a_module_is_loaded_but_not_in_it(name: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", TOLD.format(name=name)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
