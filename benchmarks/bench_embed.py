"""Embedding of tiles: ours against a plain open_clip loop, with the same ViT-B/16 (random weights) and tiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.measure import Row, rate_row, report, sized, time_in_turn
from hubbleclip.config.settings import ModelSettings
from hubbleclip.training.embeddings import prepare_for_embedding
from hubbleclip.training.models.builder import LoadedModel, load_model

MODEL = ModelSettings(name="ViT-B-16", pretrained="")
BATCH = sized(32, 4)
NUM_BATCHES = sized(2, 1)
RUNS = sized(3, 1)
SEED = 1
PEER = "open_clip, fp32"


def make_batches(size_px: int) -> list[torch.Tensor]:
    """Draw grey tiles (b, 1, size_px, size_px), uint8, as the reader of shards returns them."""
    generator = torch.Generator().manual_seed(SEED)
    shape = (BATCH, 1, size_px, size_px)
    return [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(NUM_BATCHES)]


class Bench:
    """Two copies of the model, and the two ways to embed."""

    def __init__(self) -> None:
        self.ours = prepare_for_embedding(load_model(MODEL, SEED), "auto")
        self.peer = load_model(MODEL, SEED)
        self.peer.model.to(self.ours.device)
        self.batches = make_batches(self.ours.image_size)

    @contextmanager
    def our_loop(self, _: Path) -> Iterator[Callable[[], object]]:
        """Embed as an evaluation does."""
        yield lambda: [self.ours.encode_images(batch) for batch in self.batches]

    @contextmanager
    def peer_loop(self, _: Path) -> Iterator[Callable[[], object]]:
        """Embed as in open_clip's README, in full precision."""
        yield lambda: [plain_features(self.peer, batch) for batch in self.batches]


@torch.no_grad()
def plain_features(loaded: LoadedModel, batch: torch.Tensor) -> torch.Tensor:
    """Compute features (b, d) of length 1 by the model's own method."""
    features: torch.Tensor = loaded.model.eval().encode_image(loaded.normalise(batch))
    unit: torch.Tensor = features / features.norm(dim=-1, keepdim=True)
    return unit


def measure(bench: Bench, clock: Callable[[], float] = time.perf_counter) -> list[Row]:
    """Measure images per second."""
    precision = str(bench.ours.dtype).removeprefix("torch.")
    name = f"embed {MODEL.name}, {precision}, batch {BATCH}, {bench.ours.device.type}"
    seconds = time_in_turn(name, bench.our_loop, bench.peer_loop, runs=RUNS, clock=clock)
    return [rate_row(name, "images/s", BATCH * NUM_BATCHES, seconds, PEER)]


if __name__ == "__main__":
    report("embed", measure(Bench()))
