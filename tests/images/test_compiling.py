"""The cache of compiled loops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hubbleclip.images.kernels import discard_stale_cache

CALLER = "from callee import number\nfrom hubbleclip.images.kernels import compiled\n@compiled\ndef result(): return number()\n"
CALLEE = "from hubbleclip.images.kernels import compiled\n@compiled\ndef number(): return {}\n"


def run_caller(folder: Path) -> str:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from caller import result; print(result())"
    return subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_changed_function_is_recompiled_in_its_callers(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "callee.py").write_text(CALLEE.format(1))
    discard_stale_cache(tmp_path)
    assert (run_caller(tmp_path), run_caller(tmp_path)) == ("1", "1")
    cached = sorted((tmp_path / "__pycache__").glob("*.nb[ci]"))
    discard_stale_cache(tmp_path)
    assert cached and sorted((tmp_path / "__pycache__").glob("*.nb[ci]")) == cached
    (tmp_path / "callee.py").write_text(CALLEE.format(22))
    assert run_caller(tmp_path) == "1", "numba now detects it: delete discard_stale_cache"
    discard_stale_cache(tmp_path)
    assert run_caller(tmp_path) == "22"
