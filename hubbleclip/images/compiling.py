"""How the loops over pixels are compiled: by numba. What it made is kept beside the code, or under `NUMBA_CACHE_DIR`;
the first run on a machine, or after a change of the code, makes it and takes some seconds longer.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from numba import njit

from hubbleclip.core.io import write_bytes

compiled = njit(nogil=True, cache=True, error_model="numpy")


def forget_other_code(folder: Path) -> None:
    """Delete what was made of other code than stands in `folder` now.

    numba looks whether the file of a loop has changed, not whether those of the loops have that it calls (its manual,
    "Caching limitations"): it would go on with their old code.
    """
    files = ((path.name, path.stat()) for path in sorted(folder.glob("*.py")))
    made_of = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files)
    cache = folder / "__pycache__"
    stamp = cache / "compiled.txt"
    with suppress(OSError):  # where nothing may be written, numba keeps it elsewhere, and nothing of it here
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == made_of:
            return
        for made in cache.glob("*.nb[ci]"):
            made.unlink(missing_ok=True)
        write_bytes(stamp, made_of.encode(), is_synced=False)


forget_other_code(Path(__file__).parent)
