"""How the loops over pixels are compiled: by numba. What it made is kept beside the code, or under `NUMBA_CACHE_DIR`;
the first run on a machine, or after a change of the code, makes it and takes some seconds longer.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from hubbleclip.core.io import write_bytes

compiled = njit(nogil=True, cache=True, error_model="numpy")
inlined = njit(inline="always", error_model="numpy")
"""For what a loop takes arrays from: the compiler must see that they are apart, to make vector instructions of it."""

CACHE_LINE_BYTES = 64
BLOCK = 128
"""Values counted between one `prefetch_block` and the next: the memory takes only so many requests at once."""


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, k = arguments
        start = cgutils.create_struct_proxy(signature.args[0])(context, builder, values).data  # type: ignore[no-untyped-call]
        where = builder.bitcast(builder.gep(start, [k]), cgutils.voidptr_t)
        number = ir.IntType(32)
        declared = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], declared)
        builder.call(function, [where, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = intrinsic(_prefetch)
"""`prefetch(values, k)`: have the processor bring an item of (n,), which lie side by side, into its caches while it
counts on. It never faults, wherever the item lies. LLVM's `llvm.prefetch`, to read, into all caches.
"""


@compiled
def prefetch_block(values: Any, start: Any) -> None:
    """`prefetch` of the `BLOCK` values from a start on."""
    for k in range(0, BLOCK, CACHE_LINE_BYTES // values.itemsize):
        prefetch(values, start + k)


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
