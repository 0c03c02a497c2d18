"""Batches of grey 512 px tiles with their texts: ours by random access, in the order of a seed, beside streaming peers.

All decode on the CPU with two workers, ours threads and the peers' processes, and give uint8 batches; ours also draws
and tokenizes texts, draws views and positives, has at most one tile of a proposal in a batch, and can start anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import open_clip
import torch

from benchmarks.environments import peer_python, run_peer
from benchmarks.made import make_pngs, make_samples
from benchmarks.measure import Row, Seconds, rate_row
from hubbleclip.config.settings import ShardSettings, TrainSettings
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.loader import TrainBatches, iterate_batches, open_split, open_train_batches
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset

NUM, GROUP_SIZE, NUM_PICTURES, SIDE_PX = 7680, 10, 24, 512
BATCH, WORKERS, RUNS = 64, 2, 3
CONTEXT_LENGTH = 77
PEERS = {"opencv": "webdataset + OpenCV", "pil": "webdataset, pil decoder", "litdata": "litdata + OpenCV"}
PACKAGES = (
    f"torch=={torch.__version__.partition('+')[0]}", "webdataset==1.0.2", "opencv-python-headless", "litdata==0.2.76",
    "pillow", "numpy",
)  # fmt: skip


def build(root: Path, num: int = NUM, side_px: int = SIDE_PX, max_mb: int = 32) -> DatasetInfo:
    """A dataset of made tiles; shards small enough that loader processes of the peers share them evenly."""
    samples, pngs = make_samples(make_pngs(NUM_PICTURES, side_px), num, GROUP_SIZE)
    built = build_dataset(
        samples, pngs.__getitem__, root, ShardSettings(max_mb=max_mb), contract_version="1.0.0",
        code_version="benchmark", read_png_size=lambda tile_id: len(pngs[tile_id]),
    )  # fmt: skip
    return read_dataset(root / built.dataset.digest)


def open_ours(info: DatasetInfo, *, workers: int = WORKERS, steps: int = NUM // BATCH) -> TrainBatches:
    """Our batches, read and decoded anew each time: nothing is kept in memory."""
    settings = TrainSettings(steps=steps, batch_size=BATCH, workers=workers, full_abstract_share=1.0)
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)
    return open_train_batches(
        open_split(info, "train"), settings, image_size=SIDE_PX // 2, tokenizer=tokenizer,
        context_length=CONTEXT_LENGTH, cache_bytes=0,
    )  # fmt: skip


def seconds_of(batches: TrainBatches, first_step: int = 0) -> float:
    """Seconds for all batches from a step on."""
    start = time.perf_counter()
    num = sum(len(batch.tiles_b1ss) for batch in iterate_batches(batches, first_step, pin=False))
    took_s = time.perf_counter() - start
    if num != (len(batches) - first_step) * BATCH:
        raise RuntimeError(f"{num} tiles came")
    return took_s


def peer_seconds(python: Path, kind: str, shards: Sequence[str]) -> float:
    """Seconds for every tile of the shards once."""
    with TemporaryDirectory() as folder:
        told = run_peer(
            python, "loading.py", kind=kind, shards=list(shards), batch=BATCH, workers=WORKERS, folder=folder
        )
    if told["num"] != NUM:
        raise RuntimeError(f"{kind} gave {told['num']} of {NUM} tiles")
    return float(told["took_s"])


def compare_loading() -> list[Row]:
    """Tiles a second, ours and each peer in turn; and ours again from the middle on, as a resume starts."""
    name = f"loading {SIDE_PX} px grey, {WORKERS} workers"
    python = peer_python("loaders", *PACKAGES)
    with TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        info = build(Path(folder))
        batches = open_ours(info)
        seconds_of(batches)
        rows = []
        for kind, peer_name in PEERS.items() if python else ():
            both = [(seconds_of(batches), peer_seconds(python, kind, info.shards["train"])) for _ in range(RUNS)]
            ours, theirs = zip(*both, strict=True)
            rows.append(rate_row(name, "samples/s", NUM, Seconds(ours=ours, peer=theirs), peer_name))
        half = len(batches) // 2
        resumed = Seconds(ours=tuple(seconds_of(batches, half) for _ in range(RUNS)))
        rows.append(rate_row(f"{name}, resumed at step {half}", "samples/s", NUM - half * BATCH, resumed))
    return rows
