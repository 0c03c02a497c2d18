"""Batches of grey 512 px tiles with their texts: our loader (random access, seeded order) against streaming loaders.

All decode on the CPU with two workers (threads in ours, processes in the peers) and return uint8 batches. Ours also
draws and tokenizes texts, draws views, has at most one tile of a proposal per batch, and can start at any step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import open_clip
import torch

from benchmarks.environments import peer_python, run_peer
from benchmarks.measure import Row, Seconds, each, progress, rate_row, sized
from benchmarks.synthetic_data import make_pngs, make_samples
from hubbleclip.config.settings import ShardSettings, TrainSettings
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.loader import TrainBatches, iterate_batches
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.dataset.reader import open_split

NUM, GROUP_SIZE, NUM_PICTURES, SIDE_PX = sized(3840, 640), 10, 24, 512
BATCH, WORKERS, RUNS = 64, 2, sized(3, 1)  # a batch has one tile of each of 64 groups: NUM is at least 640
CONTEXT_LENGTH = 77
PEERS = {"opencv": "webdataset + OpenCV", "pil": "webdataset, pil decoder", "litdata": "litdata + OpenCV"}
PACKAGES = (
    f"torch=={torch.__version__.partition('+')[0]}",
    "webdataset==1.0.2",
    "opencv-python-headless",
    "litdata==0.2.76",
    "pillow",
    "numpy",
)


def build(root: Path, num: int = NUM, side_px: int = SIDE_PX, max_mb: int = 32) -> DatasetInfo:
    """Build a dataset of synthetic tiles; shards are small, so that the peers' processes share them evenly."""
    samples, pngs = make_samples(make_pngs(NUM_PICTURES, side_px), num, GROUP_SIZE)
    built = build_dataset(
        samples,
        pngs.__getitem__,
        root,
        ShardSettings(max_mb=max_mb),
        contract_version="1.0.0",
        code_version="benchmark",
        read_png_size=lambda tile_id: len(pngs[tile_id]),
    )
    return read_dataset(root / built.dataset.digest)


def open_ours(info: DatasetInfo, *, workers: int = WORKERS, steps: int = NUM // BATCH) -> TrainBatches:
    """Open our batches without a cache: tiles are read and decoded each time."""
    settings = TrainSettings(steps=steps, batch_size=BATCH, workers=workers, captions={"abstract": 1.0})
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)
    return TrainBatches(
        open_split(info, "train"),
        settings,
        image_size=SIDE_PX // 2,
        tokenizer=tokenizer,
        context_length=CONTEXT_LENGTH,
        cache_bytes=0,
    )


def time_ours(batches: TrainBatches, first_step: int = 0) -> float:
    """Measure the seconds of all batches from a step on."""
    start = time.perf_counter()
    num = sum(len(batch.tiles_b1ss) for batch in iterate_batches(batches, first_step, pin=False))
    took_s = time.perf_counter() - start
    if num != (len(batches) - first_step) * BATCH:
        raise RuntimeError(f"our loader returned {num} tiles, not {(len(batches) - first_step) * BATCH}")
    return took_s


def time_peer(python: Path, kind: str, shards: Sequence[str]) -> float:
    """Measure the seconds of one epoch of a peer."""
    with TemporaryDirectory() as folder:
        result = run_peer(
            python, "loading.py", kind=kind, shards=list(shards), batch=BATCH, workers=WORKERS, folder=folder
        )
    if result["num"] != NUM:
        raise RuntimeError(f"{kind} returned {result['num']} of {NUM} tiles")
    return float(result["took_s"])


def compare_loading() -> list[Row]:
    """Measure tiles per second, ours and each peer in turn; then ours from the middle on, as in a resumed training."""
    name = f"loading {SIDE_PX} px grey, {WORKERS} workers"
    python = peer_python("loaders", *PACKAGES)
    with TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        progress(f"{name}: building a dataset of {NUM:,} tiles")
        info = build(Path(folder))
        batches = open_ours(info)
        time_ours(batches)  # warm-up
        rows = []
        for kind, peer_name in each(list(PEERS.items()) if python else [], lambda peer: f"{name}, ours and {peer[1]}"):
            both = [(time_ours(batches), time_peer(python, kind, info.shards["train"])) for _ in range(RUNS)]
            ours, theirs = zip(*both, strict=True)
            rows.append(rate_row(name, "samples/s", NUM, Seconds(ours=ours, peer=theirs), peer_name))
        half = len(batches) // 2
        progress(f"{name}, resumed at step {half}, runs: {RUNS}")
        resumed = Seconds(ours=tuple(time_ours(batches, half) for _ in range(RUNS)))
        rows.append(rate_row(f"{name}, resumed at step {half}", "samples/s", NUM - half * BATCH, resumed))
    return rows
