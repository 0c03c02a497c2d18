"""Embedding of tiles beside a plain open_clip loop, the same ViT-B/16 and the same tiles; its weights are random.

python -m benchmarks.bench_embed
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.measure import Row, rate_row, report, time_in_turn
from hubbleclip.config.settings import ModelSettings
from hubbleclip.evaluation.embed import prepare_for_embedding
from hubbleclip.training.models.builder import LoadedModel, load_model

MODEL = ModelSettings(name="ViT-B-16", pretrained="")
BATCH = 32
NUM_BATCHES = 2
SEED = 1
PEER = "open_clip, fp32"


def make_batches(size_px: int) -> list[torch.Tensor]:
    """Grey tiles (b, 1, size_px, size_px) as the reader of shards gives them."""
    generator = torch.Generator().manual_seed(SEED)
    shape = (BATCH, 1, size_px, size_px)
    return [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(NUM_BATCHES)]


class Bench:
    """Two copies of the model, and the ways to embed."""

    def __init__(self) -> None:
        self.ours = prepare_for_embedding(load_model(MODEL, SEED), "auto")
        self.peers = load_model(MODEL, SEED)
        self.peers.model.to(self.ours.device)
        self.batches = make_batches(self.ours.image_size)

    @contextmanager
    def our_loop(self, _: Path) -> Iterator[Callable[[], object]]:
        """As an evaluation embeds."""
        yield lambda: [self.ours.encode_images(batch) for batch in self.batches]

    @contextmanager
    def peer_loop(self, _: Path) -> Iterator[Callable[[], object]]:
        """As open_clip's README does, full precision."""
        yield lambda: [plain_features(self.peers, batch) for batch in self.batches]


@torch.no_grad()
def plain_features(loaded: LoadedModel, batch: torch.Tensor) -> torch.Tensor:
    """Normalised features (b, d) by the model's own call."""
    features: torch.Tensor = loaded.model.eval().encode_image(loaded.normalise(batch))
    unit: torch.Tensor = features / features.norm(dim=-1, keepdim=True)
    return unit


def measure(bench: Bench, clock: Callable[[], float] = time.perf_counter) -> list[Row]:
    """Images a second."""
    seconds = time_in_turn(bench.our_loop, bench.peer_loop, runs=3, clock=clock)
    precision = str(bench.ours.dtype).removeprefix("torch.")
    name = f"embed {MODEL.name}, {precision}, batch {BATCH}, {bench.ours.device.type}"
    return [rate_row(name, "images/s", BATCH * NUM_BATCHES, seconds, PEER)]


if __name__ == "__main__":
    report("embed", measure(Bench()))
