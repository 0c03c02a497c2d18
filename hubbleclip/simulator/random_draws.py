"""Random draws that depend on the seed and on named keys alone, so that any item can be made without the others."""

from __future__ import annotations

import hashlib
import random

import numpy as np


def python_rng(seed: int, *keys: object) -> random.Random:
    """A `random.Random` for choices of words and metadata."""
    return random.Random(":".join(map(str, (seed, *keys))))


def integer_of(seed: int, *keys: object) -> int:
    """64 bits that identify (seed, keys)."""
    text = ":".join(map(str, (seed, *keys)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def numpy_rng(seed: int, *keys: object) -> np.random.Generator:
    """A numpy generator for pixels."""
    return np.random.Generator(np.random.PCG64(integer_of(seed, *keys)))
