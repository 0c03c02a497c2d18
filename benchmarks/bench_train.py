"""Training beside open_clip's own loop, on the same shards: whole epochs, steps alone, and the encoding of short texts.

    python -m benchmarks.bench_train

Both take the same 512 px tiles to the same model in batches of the same size. Ours also turns each image and knows
groups. "Wait for the loader" is the part of an epoch that is spent until the next batch stands ready.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch

from benchmarks.made import make_pngs, make_samples
from benchmarks.measure import Row, rate_row, report, time_in_turn
from benchmarks.peers import train as peer
from hubbleclip.dataset.directory import read_dataset
from hubbleclip.dataset.loader import iterate_batches, open_split, open_train_batches
from hubbleclip.dataset.shards import build_dataset
from hubbleclip.settings import ModelSettings, ShardSettings, TrainSettings
from hubbleclip.training.distributed import World, joined
from hubbleclip.training.model import LoadedModel, load_model
from hubbleclip.training.trainer import Trainer, make_trainer

MODEL = ModelSettings(name="hubbleclip-tiny", pretrained="")
SETTINGS = TrainSettings(steps=1000, batch_size=96, learning_rate=1e-3, warmup_steps=50, workers=0)
GROUP_SIZE = 4  # an epoch shows every tile once in GROUP_SIZE batches, a group a row
NUM_TILES = GROUP_SIZE * SETTINGS.batch_size
PHRASES = ["a spiral galaxy", "a planetary nebula", "Jupiter with its moons", "strong gravitational lens arcs"] * 64


def make_dataset(folder: Path) -> Path:
    """A dataset of 512 px tiles."""
    samples, pngs = make_samples(make_pngs(NUM_TILES // 8, 512), NUM_TILES, GROUP_SIZE)
    built = build_dataset(
        samples, pngs.__getitem__, folder, ShardSettings(), contract_version="1.0.0", code_version="benchmark"
    )
    return folder / built.dataset.digest


class Bench:
    """One dataset and one model, and the ways to train."""

    def __init__(self, dataset_dir: Path, world: World) -> None:
        self.dataset_dir, self.world = dataset_dir, world
        self.info = read_dataset(dataset_dir)
        self.fed = self.load()
        self.batches = open_train_batches(
            open_split(self.info, "train"), SETTINGS, image_size=self.fed.image_size, tokenizer=self.fed.tokenizer,
            context_length=self.fed.context_length,
        )  # fmt: skip
        self.our_ready = list(self.our_batches())
        ready = self.peer_batches()
        self.peer_ready = peer.Batches(list(ready), ready.num_batches, ready.num_samples)
        self.waited: list[float] = []

    def load(self) -> LoadedModel:
        """The model with its first weights."""
        loaded = load_model(MODEL, SETTINGS.seed)
        loaded.model.to(self.world.device)
        return loaded

    def our_batches(self) -> Iterator:
        """Our batches of an epoch."""
        return islice(iterate_batches(self.batches, 0, pin=False), GROUP_SIZE)

    def peer_batches(self) -> peer.Batches:
        """The peer's batches of an epoch."""
        return peer.open_batches(
            self.dataset_dir, GROUP_SIZE, SETTINGS.batch_size, image_size=self.fed.image_size,
            tokenizer=self.fed.tokenizer, min_crop_share=SETTINGS.min_crop_share, mean=self.fed.mean, std=self.fed.std,
        )  # fmt: skip

    def trainer(self, folder: Path) -> Trainer:
        """Ours, before its first step."""
        return make_trainer(self.load(), SETTINGS, self.world, val=open_split(self.info, "val"), run_dir=folder)

    @contextmanager
    def our_epoch(self, folder: Path) -> Iterator[Callable[[], object]]:
        """An epoch from shards; tiles stand in memory, reduced, as from the second one on."""
        trainer = self.trainer(folder)

        def work() -> None:
            waited_s, since_s = 0.0, time.perf_counter()
            for batch in self.our_batches():
                waited_s += time.perf_counter() - since_s
                trainer.train_step(batch)
                since_s = time.perf_counter()
            self.waited.append(waited_s)

        yield work

    @contextmanager
    def our_steps(self, folder: Path) -> Iterator[Callable[[], object]]:
        """Steps of our loop on batches that stand ready."""
        trainer = self.trainer(folder)
        yield lambda: [trainer.train_step(batch) for batch in self.our_ready]

    @contextmanager
    def peer_epoch(self, _: Path) -> Iterator[Callable[[], object]]:
        """An epoch of the peer from shards."""
        yield self.peer_work(self.peer_batches())

    @contextmanager
    def peer_steps(self, _: Path) -> Iterator[Callable[[], object]]:
        """Steps of the peer on batches that stand ready."""
        yield self.peer_work(self.peer_ready)

    def peer_work(self, batches: peer.Batches) -> Callable[[], object]:
        """The peer's loop over the batches."""
        model = self.load().model
        optimizer = peer.make_optimizer(model, SETTINGS.learning_rate, SETTINGS.weight_decay)
        return lambda: peer.train(model, optimizer, batches, self.world.device, SETTINGS.grad_clip)

    @contextmanager
    def our_texts(self, _: Path) -> Iterator[Callable[[], object]]:
        """Short texts, cut to the longest."""
        yield lambda: self.fed.encode_texts(PHRASES)

    @contextmanager
    def peer_texts(self, _: Path) -> Iterator[Callable[[], object]]:
        """Short texts, filled up to the context."""

        @torch.inference_mode()
        def work() -> None:
            self.fed.model.encode_text(self.fed.tokenizer(PHRASES).to(self.world.device), normalize=True)

        yield work


def measure(bench: Bench, clock: Callable[[], float] = time.perf_counter) -> list[Row]:
    """Samples and texts a second."""
    name = f"train {MODEL.name}, batch {SETTINGS.batch_size}, bf16, {bench.world.device.type}"
    epochs = time_in_turn(bench.our_epoch, bench.peer_epoch, runs=3, clock=clock)
    steps = time_in_turn(bench.our_steps, bench.peer_steps, runs=3, clock=clock)
    texts = time_in_turn(bench.our_texts, bench.peer_texts, runs=5, clock=clock)
    share = 100 * statistics.median(bench.waited[1:]) / statistics.median(epochs.ours)
    return [
        rate_row(f"{name}, from shards", "samples/s", NUM_TILES, epochs, peer.LOOP),
        rate_row(f"{name}, batches ready", "samples/s", NUM_TILES, steps, peer.LOOP),
        Row(
            name="wait for the loader", unit="% of an epoch", ours=round(share, 2), peer=None, peer_name=None,
            ratio=None, runs=3, spread=0.0,
        ),
        rate_row("encode phrases of 5 tokens on average", "texts/s", len(PHRASES), texts, "77 tokens each"),
    ]  # fmt: skip


def main() -> None:
    """Measure epochs, steps and texts."""
    with tempfile.TemporaryDirectory() as folder, joined() as world:
        rows = measure(Bench(make_dataset(Path(folder)), world))
    report("train", rows)


if __name__ == "__main__":
    main()
