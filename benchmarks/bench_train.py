"""Training against `open_clip_train`, on the same shards: whole epochs, steps alone, and the encoding of short texts.

Both train the same model on the same 512 px tiles with the same batch size and number of reading processes. Ours also
rotates images and respects groups, and caches reduced tiles in memory where they fit, as they do here. Each of our
epochs starts a loader, which a training does once; the peer's is already running. "Wait for the loader" is the share of
an epoch spent waiting for batches, without the first.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.environments import peer_packages, run_peer
from benchmarks.measure import Row, Seconds, figure_row, progress, rate_row, report, sized, time_in_turn
from benchmarks.synthetic_data import make_pngs, make_samples
from hubbleclip.config.settings import ModelSettings, ShardSettings, TrainSettings
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.loader import CACHE_BYTES, TrainBatch, TrainBatches, iterate_batches
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.reader import open_split
from hubbleclip.training.distributed import World, process_group
from hubbleclip.training.models.builder import MODELS_DIR, LoadedModel, load_model
from hubbleclip.training.trainer import make_trainer

MODEL = ModelSettings(name="hubbleclip-tiny", pretrained="")
STEPS = sized(5, 2)  # also the tiles per group: a batch has one tile of each group, so STEPS batches are an epoch
SETTINGS = TrainSettings(steps=STEPS, batch_size=sized(96, 16), learning_rate=1e-3, warmup_steps=50, workers=1)
NUM_TILES = STEPS * SETTINGS.batch_size
RUNS = sized(3, 1)
PHRASES = ["a spiral galaxy", "a planetary nebula", "Jupiter with its moons", "strong gravitational lens arcs"] * 64
PEER, WEBDATASET = "open_clip_train", "webdataset==0.2.86"

OpenBatches = Callable[[], Iterable[TrainBatch]]


def make_dataset(folder: Path) -> Path:
    """Build a dataset of 512 px tiles."""
    samples, pngs = make_samples(make_pngs(NUM_TILES // 8, 512), NUM_TILES, STEPS)
    built = build_dataset(
        samples, pngs.__getitem__, folder, ShardSettings(), contract_version="1.0.0", code_version="benchmark"
    )
    return folder / built.dataset.digest


class Bench:
    """A dataset, a model, and the ways to train."""

    def __init__(self, dataset_dir: Path, world: World) -> None:
        self.world, self.info = world, read_dataset(dataset_dir)
        self.loaded = self.load()
        self.cached, self.uncached = self.open(CACHE_BYTES), self.open(0)
        # steps alone: with batches in memory the loader costs nothing
        self.in_memory = list(iterate_batches(self.cached, 0, pin=False))
        self.packages = peer_packages("open-clip-train", WEBDATASET)

    def load(self) -> LoadedModel:
        """Load the model with its initial weights."""
        loaded = load_model(MODEL, SETTINGS.seed)
        loaded.model.to(self.world.device)
        return loaded

    def open(self, cache_bytes: int) -> TrainBatches:
        """Open batches whose tiles are cached in at most `cache_bytes` of memory."""
        return TrainBatches(
            open_split(self.info, "train"),
            SETTINGS,
            image_size=self.loaded.image_size,
            tokenizer=self.loaded.tokenizer,
            context_length=self.loaded.context_length,
            cache_bytes=cache_bytes,
        )

    def train(self, open_batches: OpenBatches, folder: Path) -> tuple[float, float]:
        """Train an epoch; return its seconds, and those spent waiting for batches after the first."""
        val = open_split(self.info, "val")
        trainer = make_trainer(self.load(), SETTINGS, self.world, val=val, run_dir=folder)
        waited_s, start_s = 0.0, time.perf_counter()
        step_end_s = start_s
        for number, batch in enumerate(open_batches()):
            waited_s += time.perf_counter() - step_end_s if number else 0.0
            trainer.train_step(batch)
            step_end_s = time.perf_counter()
        return step_end_s - start_s, waited_s

    def peer(self, folder: Path) -> dict[str, float]:
        """Run the peer; return the seconds of an epoch from shards and of one on batches in memory."""
        flags = {
            "train-data": "::".join(self.info.shards["train"]),
            "train-num-samples": NUM_TILES,
            "dataset-type": "webdataset",
            "workers": SETTINGS.workers,
            "batch-size": SETTINGS.batch_size,
            "model": MODEL.name,
            "precision": "amp_bf16",
            "device": self.world.device,
            "logs": folder,
            "name": "peer",
            "lr": SETTINGS.learning_rate,
            "wd": SETTINGS.weight_decay,
            "warmup": SETTINGS.warmup_steps,
            "grad-clip-norm": SETTINGS.grad_clip,
            "aug-cfg": f"scale=({SETTINGS.min_crop_share},1.0)",
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        took_s: dict[str, float] = run_peer(
            sys.executable, "train.py", packages=self.packages, models_dir=MODELS_DIR, flags=words
        )
        return took_s

    @contextmanager
    def our_texts(self, _: Path) -> Iterator[Callable[[], object]]:
        """Encode short texts, cut to the longest."""
        yield lambda: self.loaded.encode_texts(PHRASES)

    @contextmanager
    def peer_texts(self, _: Path) -> Iterator[Callable[[], object]]:
        """Encode short texts, padded to the context length."""

        @torch.inference_mode()
        def work() -> None:
            self.loaded.model.encode_text(self.loaded.tokenizer(PHRASES).to(self.world.device), normalize=True)

        yield work


def measure(bench: Bench) -> list[Row]:
    """Measure samples and texts per second."""
    ways: dict[str, OpenBatches] = {
        "from shards": lambda: iterate_batches(bench.cached, 0, pin=False),
        "from shards, tiles read again": lambda: iterate_batches(bench.uncached, 0, pin=False),
        "batches ready": lambda: bench.in_memory,
    }
    ours: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    peers: list[dict[str, float]] = []
    for number in range(RUNS + 1):
        for way, open_batches in ways.items():
            progress(f"our epoch, {way}: {'warm-up' if number == 0 else f'run {number} of {RUNS}'}")
            with tempfile.TemporaryDirectory() as folder:
                ours[way].append(bench.train(open_batches, Path(folder)))
        if bench.packages and number:  # the first round warms up, as the peer does itself
            progress(f"{PEER}: run {number} of {RUNS}")
            with tempfile.TemporaryDirectory() as folder:
                peers.append(bench.peer(Path(folder)))
    name = f"train {MODEL.name}, batch {SETTINGS.batch_size}, bf16, {bench.world.device.type}"
    rows = []
    for way, runs in ours.items():
        took_s, _ = zip(*runs[1:], strict=True)
        peer_s = tuple(one["ready" if way == "batches ready" else "shards"] for one in peers)
        rows.append(
            rate_row(
                f"{name}, {way}", "samples/s", NUM_TILES, Seconds(ours=took_s, peer=peer_s), PEER if peers else None
            )
        )
        if way != "batches ready":
            shares = [100 * waited / took for took, waited in runs[1:]]
            rows.append(figure_row(f"wait for the loader, {way}", "% of an epoch", shares))
    name = "encode phrases of 5 tokens on average"
    texts = time_in_turn(name, bench.our_texts, bench.peer_texts, runs=sized(5, 1))
    return [*rows, rate_row(name, "texts/s", len(PHRASES), texts, "77 tokens each")]


def main() -> None:
    """Measure epochs, steps and texts."""
    progress(f"making {NUM_TILES} tiles of 512 px")
    with tempfile.TemporaryDirectory() as folder, process_group() as world:
        rows = measure(Bench(make_dataset(Path(folder)), world))
    report("train", rows)


if __name__ == "__main__":
    main()
