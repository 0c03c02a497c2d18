"""Random generators seeded by the simulator's seed and named keys, so that any item can be made without the others."""

from __future__ import annotations

import hashlib
import random

import numpy as np


def python_rng(seed: int, *keys: object) -> random.Random:
    """Make a `random.Random` for choices of words and metadata.

    Parameters
    ----------
    seed
        Seed of the simulator.
    *keys
        What is drawn: a name, then indices. Equal keys give equal draws.

    Returns
    -------
    random.Random
        Generator at its start.

    """
    return random.Random(":".join(map(str, (seed, *keys))))


def hash_seed(seed: int, *keys: object) -> int:
    """Hash a seed and keys to 64 bits.

    Parameters
    ----------
    seed
        Seed of the simulator.
    *keys
        What the number identifies.

    Returns
    -------
    int
        Number from 0 to 2**64 - 1.

    """
    text = ":".join(map(str, (seed, *keys)))  # Not hash(), which differs between processes.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def numpy_rng(seed: int, *keys: object) -> np.random.Generator:
    """Make a numpy generator for pixels.

    Parameters
    ----------
    seed
        Seed of the simulator, or of a scene.
    *keys
        What is drawn: a name, then indices. Equal keys give equal draws.

    Returns
    -------
    np.random.Generator
        Generator at its start.

    """
    # PCG64 by name: numpy may change what default_rng uses.
    return np.random.Generator(np.random.PCG64(hash_seed(seed, *keys)))
