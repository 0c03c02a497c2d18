"""Cost per sample in datasets of 1,000, 7,000 and 50,000 samples: time and memory to build, to open and to read.

Each size runs in a process of its own, because peak memory is measured per process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.loading import GROUP_SIZE, NUM_PICTURES
from benchmarks.measure import Row, each, sized
from benchmarks.synthetic_data import make_pngs, make_samples
from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.records import Sample
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.reader import open_split

SIZES = sized((1_000, 7_000, 50_000), (500, 1_000))
SIDE_PX = 64
NUM_READ = sized(2_000, 200)
MICRO = 1e6


def peak_bytes() -> int:
    """Return the peak memory of this process; `ru_maxrss` would include that of its parent before exec."""
    match = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def build_folder(samples: Sequence[Sample], pngs: Mapping[str, bytes], folder: str) -> Path:
    """Build a dataset of these samples and return its folder."""
    built = build_dataset(
        samples,
        pngs.__getitem__,
        Path(folder),
        ShardSettings(),
        contract_version="1.0.0",
        max_parents=0,
        code_version="benchmark",
        read_png_size=lambda tile_id: len(pngs[tile_id]),
    )
    return Path(folder) / built.dataset.digest


def measure_one(num: int) -> dict[str, float]:
    """Measure microseconds per sample to build, to open and to read at random, and bytes of memory per sample."""
    samples, pngs = make_samples(make_pngs(NUM_PICTURES, SIDE_PX), num, GROUP_SIZE)
    with TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        open_split(read_dataset(build_folder(samples[-500:], pngs, folder)), "test").read_all_tiles(SIDE_PX)  # warms up
        before = peak_bytes()  # memory per sample is the growth of the peak beyond imports and warm-up
        start = time.perf_counter()
        dataset_dir = build_folder(samples, pngs, folder)
        build_s = time.perf_counter() - start
        memory = peak_bytes() - before
        start = time.perf_counter()
        tiles = open_split(read_dataset(dataset_dir), "train")
        open_s = time.perf_counter() - start
        order = np.random.default_rng(1).integers(0, len(tiles.rows), NUM_READ)
        start = time.perf_counter()
        tiles.read_tiles(order, SIDE_PX)
        read_s = time.perf_counter() - start
    return {
        "build, time a sample": build_s / num * MICRO,
        "build, memory a sample": memory / num,
        "open, time a sample": open_s / num * MICRO,
        "random access, time a sample": read_s / NUM_READ * MICRO,
    }


def compare_sizes(runs: int = sized(2, 1)) -> list[Row]:
    """Measure each size, and the exponent of growth: 0 for a constant cost, 1 for one that doubles with the size."""
    costs = {num: [] for num in SIZES}
    for num in each([num for num in SIZES for _ in range(runs)], lambda num: f"a dataset of {num:,} samples"):
        costs[num].append(_in_a_process(num))
    rows = []
    for name in costs[SIZES[0]][0]:
        unit = "byte" if "memory" in name else "us"
        medians = []
        for num in SIZES:
            values = [one[name] for one in costs[num]]
            medians.append(float(np.median(values)))
            spread = (max(values) - min(values)) / medians[-1]
            rows.append(_row(f"{name} of {num:,}", unit, medians[-1], runs, spread))
        slope = float(np.polyfit(np.log(SIZES), np.log(medians), 1)[0])
        rows.append(_row(f"{name}: slope in log-log", "1", slope, runs, 0.0))
    return rows


def _row(name: str, unit: str, value: float, runs: int, spread: float) -> Row:
    return Row(
        name=name,
        unit=unit,
        ours=float(f"{value:.4g}"),
        peer=None,
        peer_name=None,
        ratio=None,
        runs=runs,
        spread=float(f"{spread:.4g}"),
    )


def _in_a_process(num: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.dataset_sizes", str(num)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(measure_one(int(sys.argv[1]))))
