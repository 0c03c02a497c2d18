"""Compilation of loops over pixels by numba, and conversion of pixels from the byte order of the file.

The loops compute in IEEE 754 float32 without fused multiply-add, so that every machine gives the same levels. Each
count has the narrowest sufficient integer type, because LLVM can then use vector instructions. A loop is compiled again
in each compiled function that calls it, so few loops call other loops. `tests/images/numpy_twins.py` contains a slow
NumPy reference of each loop.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hubbleclip.core.io import write_bytes

compiled = njit(nogil=True, cache=True, error_model="numpy")
"""Decorator of every compiled loop.

numba caches the machine code in the `__pycache__` folder of the source, or under `NUMBA_CACHE_DIR`. All loops are
compiled for the first file after an installation or a change of the source, which takes about ten seconds.
"""

FLAGS_PER_WORD = 8
"""Number of flags, of one byte each, in a 64-bit word."""
F32, U32, I32 = np.float32, np.uint32, np.int32

Pixels = tuple[NDArray[np.uint32], bool]
"""Raw 32-bit words (h, w) of float32 pixels, and whether the bytes of a word are swapped; see `pixel_words`."""


def discard_stale_cache(folder: Path) -> None:
    """Delete numba's cached machine code in a folder if a source file there has changed since the previous call.

    numba recompiles a function if the function's own source file has changed, but not if a called function in another
    file has changed (numba manual, "Caching limitations").
    """
    files = ((path.name, path.stat()) for path in sorted(folder.glob("*.py")))
    fingerprint = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files)
    cache = folder / "__pycache__"
    stamp = cache / "compiled.txt"
    with suppress(OSError):  # if the folder is read-only, numba keeps its cache in another folder
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint:
            return
        for cached in cache.glob("*.nb[ci]"):
            cached.unlink(missing_ok=True)
        write_bytes(stamp, fingerprint.encode(), is_synced=False)


discard_stale_cache(Path(__file__).parent)  # called before any function below loads its cache


def pixel_words(data_yx: NDArray[np.float32]) -> Pixels:
    """View float32 pixels of either byte order as read-only raw words. Contiguous arrays are not copied."""
    words_yx = np.ascontiguousarray(data_yx).view(np.ndarray).view(np.uint32)
    words_yx.flags.writeable = False
    return words_yx, not data_yx.dtype.isnative


@compiled
def to_float32(bits: Any, swapped: Any) -> Any:
    """Convert a raw word to the float32 value of the pixel."""
    if swapped:
        middle = ((bits >> U32(8)) & U32(0xFF00)) | ((bits & U32(0xFF00)) << U32(8))
        return U32((bits >> U32(24)) | middle | (bits << U32(24))).view(F32)
    return U32(bits).view(F32)


@compiled
def empty_flags(num: Any) -> Any:
    """Make `num` false flags; `num` is rounded up to a multiple of `FLAGS_PER_WORD` for `append_places`."""
    return np.zeros(-(-num // FLAGS_PER_WORD) * FLAGS_PER_WORD, np.bool_)


@compiled
def append_places(flags: Any, first: Any, places: Any, num: Any) -> Any:
    """Append `first` + k to `places` for each true flag k; the first `num` elements of `places` are in use.

    Returns the array, which may be a larger copy, and its new number of used elements. Eight flags are tested at once,
    because most are false.
    """
    words = flags.view(np.uint64)
    if num + flags.size > places.size:  # makes room for all flags, so that no check per flag is needed
        former, places = places, np.empty(2 * places.size + flags.size, np.int64)
        for k in range(num):  # numba takes a second to compile np.concatenate
            places[k] = former[k]
    for k in range(words.size):
        if words[k] == 0:
            continue
        for x in range(k * FLAGS_PER_WORD, (k + 1) * FLAGS_PER_WORD):
            if flags[x]:
                places[num] = first + x
                num += 1
    return places, num
