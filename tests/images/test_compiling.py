"""What numba keeps of compiled loops."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hubbleclip.images.compiling import forget_other_code

CALLER = "from callee import number\nfrom hubbleclip.images.compiling import compiled\n@compiled\ndef told(): return number()\n"
CALLEE = "from hubbleclip.images.compiling import compiled\n@compiled\ndef number(): return {}\n"


def tell(folder: Path) -> str:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from caller import told; print(told())"
    return subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_loop_goes_on_with_no_old_code_of_one_that_it_calls(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "callee.py").write_text(CALLEE.format(1))
    forget_other_code(tmp_path)
    assert (tell(tmp_path), tell(tmp_path)) == ("1", "1")
    kept = sorted((tmp_path / "__pycache__").glob("*.nb[ci]"))
    forget_other_code(tmp_path)
    assert kept and sorted((tmp_path / "__pycache__").glob("*.nb[ci]")) == kept
    (tmp_path / "callee.py").write_text(CALLEE.format(22))
    assert tell(tmp_path) == "1", "numba finds it out by itself now: forget_other_code can go"
    forget_other_code(tmp_path)
    assert tell(tmp_path) == "22"
