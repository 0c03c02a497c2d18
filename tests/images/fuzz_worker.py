"""Damages FITS files and cuts each: `python fuzz_worker.py SEEDS_FOLDER FIRST LAST OUT_FOLDER` prints a line a case.

A case that takes too long ends the process by SIGALRM, one that takes too much memory by a MemoryError, so the parent
sees either. A case is made from its number alone. The seeds are cut first, lest the time of a case be a compiler's.
"""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
from astropy import log
from memory import peak_kb

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.images.tiling import tile_file

CASE_SECONDS = 20
BLOCK = 2880
SETTINGS = TileSettings(size_px=64, min_side_px=16, views=("native", "overview", "aim"), max_pixels=4_000_000)
DIGITS = np.frombuffer(b"0123456789", np.uint8)
NASTY = b"0|-1|1E400|NaN|T|'SCI'|99999999|1000000000000|-32768||'|2147483648".split(b"|")


def header_blocks(data: np.ndarray) -> np.ndarray:
    """First bytes of the blocks that look like headers: printable text throughout."""
    starts = np.arange(0, len(data) - BLOCK + 1, BLOCK)
    blocks = data[: len(starts) * BLOCK].reshape(-1, BLOCK)
    return starts[((blocks >= 32) & (blocks < 127)).all(axis=1)]


def flip(data, rng):
    places = rng.integers(0, len(data), rng.integers(1, 40))
    data[places] = rng.integers(0, 256, len(places))
    return data


def flip_header(data, rng):
    blocks = header_blocks(data)
    if len(blocks) == 0:
        return flip(data, rng)
    places = rng.choice(blocks, rng.integers(1, 12)) + rng.integers(0, BLOCK)
    data[places] = rng.integers(32, 127, len(places))
    return data


def change_digits(data, rng):
    places = np.concatenate(
        [b + np.flatnonzero(np.isin(data[b : b + BLOCK], DIGITS)) for b in header_blocks(data)] or [[0]]
    )
    data[rng.choice(places, rng.integers(1, 6)).astype(int)] = rng.choice(DIGITS)
    return data


def change_value(data, rng):
    blocks = header_blocks(data)
    for block in rng.choice(blocks, 2) if len(blocks) else ():
        card = int(block + 80 * rng.integers(0, BLOCK // 80))
        value = NASTY[rng.integers(len(NASTY))].rjust(20)
        data[card + 8 : card + 30] = np.frombuffer(b"= " + value, np.uint8)
    return data


def truncate(data, rng):
    return data[: rng.integers(0, len(data))]


def drop_block(data, rng):
    start = rng.integers(0, max(1, len(data) // BLOCK)) * BLOCK
    return np.delete(data, slice(start, start + BLOCK))


MUTATIONS = (flip, flip_header, change_digits, change_value, truncate, drop_block)


def mutate(seed: bytes, number: int) -> bytes:
    rng = np.random.default_rng(number)
    data = np.frombuffer(seed, np.uint8).copy()
    for _ in range(rng.integers(1, 3)):
        data = MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)
        if len(data) == 0:
            break
    return data.tobytes()


def cut(path: Path) -> str:
    try:
        result = tile_file(path, "0" * 64, SETTINGS)
    except ImageError as error:
        return error.reason if "\n" not in str(error) else f"crash many lines: {error!r}"
    except Exception:
        return f"crash {traceback.format_exc()!r}"
    return "tiles" if result.tiles else "rejections" if result.rejections else "crash nothing came of it"


def main(seeds_dir: Path, first: int, last: int, work_dir: Path) -> None:
    warnings.simplefilter("ignore")
    log.setLevel("ERROR")
    seeds = sorted(seeds_dir.iterdir())
    for seed in seeds:
        cut(seed)
    for number in range(first, last):
        seed = seeds[number % len(seeds)]
        path = work_dir / f"{number}-{seed.name}"
        path.write_bytes(mutate(seed.read_bytes(), number))
        sys.stdout.write(f"{path.name} ")
        sys.stdout.flush()
        signal.alarm(CASE_SECONDS)
        outcome = cut(path)
        signal.alarm(0)
        path.unlink()
        sys.stdout.write(f"{outcome}\n")
    sys.stdout.write(f"peak_kb {peak_kb()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
