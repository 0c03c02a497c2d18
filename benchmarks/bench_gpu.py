"""Training on one GPU: ViT-B/16 and SigLIP 2 B/16 from shards, in bf16, compiled. Writes `results/gpu-<card>.json`.

The steps are those of a training: loader, views, loss of the whole batch, clipping, fused AdamW. The first steps, which
compile the model, are not timed. Tiles are read from shards and decoded for every batch. MFU is the model's FLOP, as
torch counts them in a forward and a backward pass, over the card's peak in bf16 without sparsity. Under QUICK=1 a small
model shows on any machine, also without a GPU, that the benchmark runs.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import QUICK, Row, each, figure_row, read_machine, report, sized
from benchmarks.synthetic_data import make_pngs, make_samples
from hubbleclip.config.settings import ModelSettings, ShardSettings, TrainSettings
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.loader import TrainBatch, TrainBatches, iterate_batches
from hubbleclip.dataset.manifest import DatasetInfo, read_dataset
from hubbleclip.dataset.reader import open_split
from hubbleclip.training.distributed import World, process_group
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.trainer import make_trainer

REFERENCE_SAMPLES = 640_000
"""Samples of the reference's training, which took 12 hours of an A100."""
SIGLIP2 = "ViT-B-16-S2"
PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
}
"""FLOP/s in bf16 without sparsity by part of the card's name, from NVIDIA's data sheets; the first match counts."""
NUM_TILES = sized(4096, 32)
TILES_PER_GROUP = 8
WARM_UP_STEPS = sized(10, 1)
STEPS = sized(60, 2)
RUNS = sized(3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model to train, with its loss and the samples per step."""

    model: str
    loss: str
    batch_size: int


CASES = sized(
    [
        Case(model="ViT-B-16", loss="multi_positive", batch_size=256),
        Case(model=SIGLIP2, loss="siglip_masked", batch_size=256),
    ],
    [Case(model="hubbleclip-tiny", loss="multi_positive", batch_size=4)],
)


def register_siglip2() -> None:
    """Register SigLIP 2 B/16 with CLIP's tokenizer as `SIGLIP2`.

    Its own tokenizer would have to be downloaded. Other tokens cost the same time.
    """
    config = open_clip.get_model_config("ViT-B-16-SigLIP2")
    del config["text_cfg"]["hf_tokenizer_name"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{SIGLIP2}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder)


def make_dataset(folder: Path) -> DatasetInfo:
    """Build a dataset of 512 px tiles."""
    samples, pngs = make_samples(make_pngs(NUM_TILES // TILES_PER_GROUP, 512), NUM_TILES, TILES_PER_GROUP)
    built = build_dataset(
        samples, pngs.__getitem__, folder, ShardSettings(), contract_version="1.0.0", code_version="benchmark"
    )
    return read_dataset(folder / built.dataset.digest)


class Bench:
    """A model, its batches, and what a run of training costs."""

    def __init__(self, case: Case, info: DatasetInfo, world: World) -> None:
        self.case, self.info, self.world = case, info, world
        self.settings = TrainSettings(
            steps=WARM_UP_STEPS + STEPS,
            batch_size=case.batch_size,
            loss=case.loss,
            precision="bf16",
            compile=not QUICK,
            workers=sized(min(16, os.cpu_count() or 1), 1),
        )
        self.loaded = load_model(ModelSettings(name=case.model, pretrained=""), self.settings.seed)
        self.batches = self.open_batches()

    def open_batches(self) -> TrainBatches:
        """Open batches whose tiles are read from the shards every time."""
        return TrainBatches(
            open_split(self.info, "train"),
            self.settings,
            image_size=self.loaded.image_size,
            tokenizer=self.loaded.tokenizer,
            context_length=self.loaded.context_length,
            cache_bytes=0,
        )

    def count_flops(self) -> tuple[float, str]:
        """Count the FLOP of a sample, forward and backward, and name the attention kernels."""
        loaded = self.loaded
        tokens = loaded.trim_padding(self.batches[0].tokens_bl)[:2].to(self.world.device)
        images = torch.rand(2, 3, loaded.image_size, loaded.image_size, device=self.world.device)
        with FlopCounterMode(display=False) as counter, torch.autocast(self.world.device.type, torch.bfloat16):
            image_bd, text_bd, *_ = loaded.model.train()(images, tokens)
            (image_bd.sum() + text_bd.sum()).backward()
        names = {str(operation) for operation in counter.get_flop_counts()["Global"]}
        kernels = {kernel for kernel in ("flash", "efficient", "cudnn") if any(f"{kernel}_att" in one for one in names)}
        return counter.get_total_flops() / 2, " and ".join(sorted(kernels)) or "unknown"

    def train(self, batches: Iterable[TrainBatch], folder: Path) -> tuple[float, float]:
        """Train; return the seconds of the timed steps, and those of them spent waiting for batches."""
        trainer = make_trainer(self.loaded, self.settings, self.world, val=open_split(self.info, "val"), run_dir=folder)
        waited_s = start_s = 0.0
        step_end_s = time.perf_counter()
        for number, batch in enumerate(batches):
            if number > WARM_UP_STEPS:
                waited_s += time.perf_counter() - step_end_s
            trainer.train_step(batch)  # returns the loss as a number, so that the step has ended on the GPU
            step_end_s = time.perf_counter()
            if number == WARM_UP_STEPS - 1:
                start_s = step_end_s
        return step_end_s - start_s, waited_s


def measure(case: Case, info: DatasetInfo, world: World, card: str) -> list[Row]:
    """Measure a model's training from shards, and its steps on batches in memory."""
    bench = Bench(case, info, world)
    bench.loaded.model.to(world.device)
    flops, attention = bench.count_flops()
    in_memory = [bench.batches[0]] * bench.settings.steps
    rates, shares, ready = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in each(range(RUNS), lambda run: f"{case.model}, run {run + 1} of {RUNS}"):
            shards = iterate_batches(bench.batches, 0, pin=world.device.type == "cuda")
            took_s, waited_s = bench.train(shards, Path(folder))
            rates.append(STEPS * case.batch_size / took_s)
            shares.append(100 * waited_s / took_s)
            ready.append(STEPS * case.batch_size / bench.train(in_memory, Path(folder))[0])
    name = (
        f"train {case.model}, batch {case.batch_size}, bf16, {'compiled' if bench.settings.compile else 'not compiled'}"
    )
    rows = [
        figure_row(f"{name}, attention {attention}, from shards", "samples/s", rates),
        figure_row(f"{name}, batches in memory", "samples/s", ready),
        figure_row(f"{name}, wait for the loader", "% of the time", shares),
        figure_row(f"{name}, {REFERENCE_SAMPLES} samples", "h", [REFERENCE_SAMPLES / rate / 3600 for rate in rates]),
        figure_row(f"{name}, of a sample", "GFLOP", [flops / 1e9]),
    ]
    peak = next((flops for part, flops in PEAK_FLOPS.items() if part in card), None)
    if peak is not None:
        rows.append(figure_row(f"{name}, MFU", "%", [100 * flops * rate / peak for rate in rates]))
    if world.device.type == "cuda":
        rows.append(figure_row(f"{name}, memory", "GiB", [torch.cuda.max_memory_allocated() / 2**30]))
        torch.cuda.reset_peak_memory_stats()
    return rows


def main() -> None:
    """Measure the models, and write the result under the card's name."""
    with tempfile.TemporaryDirectory() as folder, process_group() as world:
        if world.device.type != "cuda" and not QUICK:
            sys.exit("no CUDA GPU is visible: run this on a machine that has one, or QUICK=1 for a trial on the CPU")
        card = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu"
        register_siglip2()
        info = make_dataset(Path(folder))
        rows = [row for case in CASES for row in measure(case, info, world, card)]
    slug = re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")
    report(f"gpu-{slug}", rows, machine=f"{card}, {read_machine()}")


if __name__ == "__main__":
    main()
