"""Loading and training the demo's model: ours against webdataset, torchvision and a plain loop with open_clip's loss.

Both sides make batches of augmented, normalised images and tokens in the training process, from the same dataset, and
train the same model on batches of the same size in the same arithmetic.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.made import make_pngs, make_samples
from benchmarks.measure import Row, rate_row, report, time_in_turn
from benchmarks.peers import train as peer
from hubbleclip.dataset.loader import TrainBatches, iterate_batches, open_split, open_train_batches
from hubbleclip.dataset.shards import build_dataset, read_dataset
from hubbleclip.settings import ModelSettings, ShardSettings, TrainSettings
from hubbleclip.training.augment import cut_views
from hubbleclip.training.distributed import World, joined
from hubbleclip.training.loop import Trainer
from hubbleclip.training.losses import loss_named
from hubbleclip.training.model import LoadedModel, load_model
from hubbleclip.training.optimizer import make_optimizer

MODEL = ModelSettings(name="hubbleclip-tiny", pretrained="")
SETTINGS = TrainSettings(steps=1000, batch_size=96, learning_rate=1e-3, warmup_steps=50, workers=0)
GROUP_SIZE = 4  # an epoch shows every tile once in GROUP_SIZE batches, a group a row
NUM_TILES = GROUP_SIZE * SETTINGS.batch_size
NUM_STEPS = 3


def make_dataset(folder: Path) -> Path:
    """A dataset of 512 px tiles."""
    samples, pngs = make_samples(make_pngs(NUM_TILES // 8, 512), NUM_TILES, GROUP_SIZE)
    built = build_dataset(
        samples, pngs.__getitem__, folder, ShardSettings(), contract_version="1.0.0", code_version="benchmark"
    )
    return folder / built.dataset.digest


class Bench:
    """One dataset and one model, and the ways to load and to train."""

    def __init__(self, dataset_dir: Path, world: World) -> None:
        self.dataset_dir, self.world = dataset_dir, world
        self.info = read_dataset(dataset_dir)
        self.fed = self.load()
        self.batches = self.open()
        self.our_ready = list(islice(iterate_batches(self.batches, 0, pin=False), NUM_STEPS))
        self.peer_ready = list(self.peer_batches(NUM_STEPS))

    def load(self) -> LoadedModel:
        """The model with its first weights."""
        loaded = load_model(MODEL, SETTINGS.seed)
        loaded.model.to(self.world.device)
        return loaded

    def open(self) -> TrainBatches:
        """Our batches; every tile is decoded once, here, by a few threads."""
        return open_train_batches(
            open_split(self.info, "train"), SETTINGS, image_size=self.fed.image_size, tokenizer=self.fed.tokenizer,
            context_length=self.fed.context_length,
        )  # fmt: skip

    def peer_batches(self, num: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first batches of the peer's epoch."""
        return peer.iterate_batches(
            self.dataset_dir, num, SETTINGS.batch_size, image_size=self.fed.image_size, tokenizer=self.fed.tokenizer,
            min_crop_share=SETTINGS.min_crop_share, mean=self.fed.mean, std=self.fed.std,
        )  # fmt: skip

    def views(self, batches: TrainBatches) -> None:
        """An epoch of ours up to what the model takes."""
        for batch in islice(iterate_batches(batches, 0, pin=False), GROUP_SIZE):
            tiles, theta, gain = (part.to(self.world.device) for part in batch[:3])
            self.fed.normalise(cut_views(tiles, theta, gain, self.fed.image_size))

    @contextmanager
    def our_first_epoch(self, _: Path) -> Iterator[Callable[[], object]]:
        """Opening included."""
        yield lambda: self.views(self.open())

    @contextmanager
    def our_later_epoch(self, _: Path) -> Iterator[Callable[[], object]]:
        """Tiles stand in memory, reduced."""
        yield lambda: self.views(self.batches)

    @contextmanager
    def our_large_epoch(self, _: Path) -> Iterator[Callable[[], object]]:
        """As it is where the tiles do not fit in memory: decoded each time."""
        uncached = replace(self.batches, cached=None)
        yield lambda: self.views(uncached)

    @contextmanager
    def peer_epoch(self, _: Path) -> Iterator[Callable[[], object]]:
        """The peer knows only one kind of epoch."""
        yield lambda: [images.to(self.world.device) for images, _ in self.peer_batches(GROUP_SIZE)]

    @contextmanager
    def our_steps(self, folder: Path) -> Iterator[Callable[[], object]]:
        """Steps of our loop on batches that stand ready."""
        loaded = self.load()
        loaded.model.to(memory_format=torch.channels_last)
        trainer = Trainer(
            settings=SETTINGS, world=self.world, loaded=loaded, wrapped=loaded.model, loss=loss_named(SETTINGS.loss),
            val=open_split(self.info, "val"), optimizer=make_optimizer(loaded.model, SETTINGS), run_dir=folder,
        )  # fmt: skip
        yield lambda: [trainer.train_step(batch) for batch in self.our_ready]

    @contextmanager
    def peer_steps(self, _: Path) -> Iterator[Callable[[], object]]:
        """Steps of the plain loop on batches that stand ready."""
        model = self.load().model
        optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS.learning_rate)
        yield lambda: peer.train(model, optimizer, self.peer_ready, self.world.device)


def measure(bench: Bench) -> list[Row]:
    """Samples of the loaders and steps of the loops a second."""
    loaders = {
        "first epoch, opening included": bench.our_first_epoch,
        "later epochs, tiles in memory": bench.our_later_epoch,
        "any epoch, tiles not in memory": bench.our_large_epoch,
    }
    rows = [
        rate_row(f"load, {name}", "samples/s", NUM_TILES, time_in_turn(ours, bench.peer_epoch, runs=3), peer.LOADER)
        for name, ours in loaders.items()
    ]
    name = f"train {MODEL.name}, batch {SETTINGS.batch_size}, bf16, {bench.world.device.type}"
    seconds = time_in_turn(bench.our_steps, bench.peer_steps, runs=3)
    return [*rows, rate_row(name, "steps/s", NUM_STEPS, seconds, peer.LOOP)]


def main() -> None:
    """Measure loading, then training."""
    with tempfile.TemporaryDirectory() as folder, joined() as world:
        rows = measure(Bench(make_dataset(Path(folder)), world))
    report("train", rows)


if __name__ == "__main__":
    main()
