"""Random generators whose seed is made from keys, such as a word and the index of a proposal.

Each item, such as a proposal, has its own generator. An item can therefore be made without making other items first.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np

SEED = 20240313
"""Seed of the simulated sky and of its proposals."""


def python_rng(*keys: object) -> random.Random:
    """Make a `random.Random` for words and metadata. Its seed depends on `SEED` and the keys."""
    return random.Random(":".join(map(str, (SEED, *keys))))


def hash_seed(*keys: object) -> int:
    """Compute a 64-bit hash of the seed and of keys."""
    return _hash(SEED, *keys)


def numpy_rng(*keys: object) -> np.random.Generator:
    """Make a numpy random generator for pixel values. Its seed depends on the keys, but not on `SEED`."""
    # PCG64 is named explicitly, because numpy may change the generator that `default_rng` uses.
    return np.random.Generator(np.random.PCG64(_hash(*keys)))


def _hash(*keys: object) -> int:
    """Compute a 64-bit hash of keys."""
    text = ":".join(map(str, keys))  # Python's hash() is not used, because it differs between processes.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
