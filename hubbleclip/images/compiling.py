"""How the loops over pixels are compiled: by numba. What it made is kept beside the code, or under `NUMBA_CACHE_DIR`;
the first run on a machine makes it and takes some seconds longer.
"""

from numba import njit

compiled = njit(nogil=True, cache=True, error_model="numpy")
inlined = njit(inline="always", error_model="numpy")
"""For what a loop takes arrays from: the compiler must see that they are apart, to make vector instructions of it."""
