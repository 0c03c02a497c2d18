"""The cache of compiled loops."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from hubbleclip.images.kernels import discard_stale_cache

CALLER = "from callee import number\nfrom hubbleclip.images.kernels import compiled\n@compiled\ndef result(): return number()\n"
CALLEE = "from hubbleclip.images.kernels import compiled\n@compiled\ndef number(): return {}\n"


def run_caller() -> int:
    """Import both modules again, as a new process does, and run the loop, whose machine code may be cached."""
    for name in ("caller", "callee"):
        sys.modules.pop(name, None)
    return import_module("caller").result()


def test_a_changed_function_is_recompiled_in_its_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "callee.py").write_text(CALLEE.format(1))
    discard_stale_cache(tmp_path)
    assert (run_caller(), run_caller()) == (1, 1)
    (tmp_path / "callee.py").write_text(CALLEE.format(22))
    assert run_caller() == 1, "numba now detects it: delete discard_stale_cache"
    discard_stale_cache(tmp_path)
    assert run_caller() == 22
