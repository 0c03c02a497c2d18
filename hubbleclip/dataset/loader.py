"""Batches of a dataset directory as tensors. Tiles are read by their place in the shard, in any order.

Every batch is a function of (seed, step): neither the number of loader processes nor of GPUs nor a resume changes it.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hubbleclip.dataset.order import DRAWS, BatchOrder, Ints, derangement, draw_views, positive_ids
from hubbleclip.dataset.shards import DatasetInfo
from hubbleclip.dataset.texts import CaptionChoice
from hubbleclip.errors import DatasetError
from hubbleclip.settings import TrainSettings

log = logging.getLogger(__name__)

CACHE_BYTES = 2 << 30
"""Tiles of a split are kept in memory, reduced, when together they are not larger than this."""
DECODERS = 4
SPECIAL_TOKENS = 2

Levels = npt.NDArray[np.uint8]
Tokenize = Callable[[list[str]], Tensor]


class TrainBatch(NamedTuple):
    """Rows of one step: uint8 tiles, their views and gains, tokens, and ids that are equal where rows are positives."""

    tiles_b1ss: Tensor
    theta_b23: Tensor
    gain_b: Tensor
    tokens_bl: Tensor
    group_ids_b: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitTiles:
    """The samples of one split in manifest order, and their pixels. `group_n` numbers the groups in order of id."""

    dataset_dir: Path
    rows: list[dict[str, Any]]
    group_n: Ints

    @property
    def num_groups(self) -> int:
        """Proposal groups of the split."""
        return int(self.group_n.max()) + 1 if len(self.rows) else 0

    @property
    def captions(self) -> list[list[str]]:
        """Captions of each sample, the main one first."""
        return [row["captions"] for row in self.rows]

    def read_levels(self, index: int, size_px: int) -> Levels:
        """One tile (size_px, size_px), reduced by area. Raises DatasetError when its bytes are no picture."""
        row = self.rows[index]
        path = self.dataset_dir / row["shard"]
        try:
            with path.open("rb") as file:
                file.seek(row["offset"])
                picture = io.BytesIO(file.read(row["length"]))
            image: Image.Image = Image.open(picture, formats=["PNG", "JPEG"]).convert("L")
        except OSError as error:
            raise DatasetError(
                f"tile {row['tile_id']} in {path} is damaged: delete {self.dataset_dir} and build again"
            ) from error
        if image.size == (size_px, size_px):
            return np.asarray(image)
        by_area = min(image.size) >= size_px
        kernel = Image.Resampling.BOX if by_area else Image.Resampling.BICUBIC
        return np.asarray(image.resize((size_px, size_px), kernel))

    def read_all(self, size_px: int) -> Levels:
        """Every tile of the split (n, size_px, size_px), decoded by threads."""
        out = np.empty((len(self.rows), size_px, size_px), dtype=np.uint8)

        def fill(index: int) -> None:
            out[index] = self.read_levels(index, size_px)

        with ThreadPoolExecutor(DECODERS) as pool:
            list(pool.map(fill, range(len(self.rows))))
        return out


def open_split(info: DatasetInfo, split: str) -> SplitTiles:
    """The samples of a split, in the manifest's order: by tile id."""
    rows = [row for row in info.manifest.to_pylist() if row["split"] == split]
    _, group_n = np.unique([row["group_id"] for row in rows], return_inverse=True)
    return SplitTiles(dataset_dir=info.path, rows=rows, group_n=group_n.astype(np.int64))


def iterate_eval_images(tiles: SplitTiles, image_size: int, batch_size: int) -> Iterator[Tensor]:
    """Whole tiles (b, 1, image_size, image_size) uint8, in order, all of them, without augmentation."""
    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(tiles.rows), batch_size):
            batch = range(start, min(start + batch_size, len(tiles.rows)))
            yield torch.from_numpy(np.stack(list(pool.map(lambda i: tiles.read_levels(i, image_size), batch))))[:, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainBatches(Dataset[TrainBatch]):
    """Item `step` is this process's part of the batch of that step: rows rank, rank + world, ... of the whole.

    Tiles are stored at `store_px`, at most twice the model's image size: from there a view is cut on the device.
    """

    tiles: SplitTiles
    settings: TrainSettings
    store_px: int
    tokenize: Tokenize
    choice: CaptionChoice
    order: BatchOrder
    partner: Ints
    rank: int
    world: int
    cached: Levels | None = field(repr=False)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> TrainBatch:
        """The batch of a step, counted from 0. Texts are drawn for all ranks: their equality decides the positives."""
        rng = np.random.default_rng([self.settings.seed, DRAWS, step])
        groups_b, rows_b = self.order.groups(step), self.order.rows(step)
        texts = [self._text(rng, group, row) for group, row in zip(groups_b, rows_b, strict=True)]
        theta = draw_views(rng, len(rows_b), self.settings.min_crop_share)
        gain = np.exp(rng.uniform(-1, 1, len(rows_b)) * self.settings.gain_jitter).astype(np.float32)
        mine = slice(self.rank, None, self.world)
        return TrainBatch(
            tiles_b1ss=torch.from_numpy(self._levels(rows_b[mine]))[:, None],
            theta_b23=torch.from_numpy(theta[mine]),
            gain_b=torch.from_numpy(gain[mine]),
            tokens_bl=torch.cat([self.tokenize([text]) for text in texts[mine]]),
            group_ids_b=torch.from_numpy(positive_ids(groups_b.tolist(), texts)[mine]),
        )

    def _text(self, rng: np.random.Generator, group: int, row: int) -> str:
        """A text of the sample, or of a sample of the partner group where pairs are shuffled."""
        if self.settings.shuffled:
            row = int(rng.choice(self.order.tiles_of[self.partner[group]]))
        return self.choice.draw(rng, self.tiles.rows[row]["captions"])

    def _levels(self, rows_b: Ints) -> Levels:
        if self.cached is not None:
            return self.cached[rows_b]
        return np.stack([self.tiles.read_levels(int(row), self.store_px) for row in rows_b])


def open_train_batches(
    tiles: SplitTiles,
    settings: TrainSettings,
    *,
    image_size: int,
    tokenizer: Any,
    context_length: int,
    rank: int = 0,
    world: int = 1,
) -> TrainBatches:
    """Batches of a train split. Raises DatasetError for fewer than 2 groups: nothing could be told apart."""
    if tiles.num_groups < 2:
        raise DatasetError(
            f"train has {tiles.num_groups} proposal groups, 2 are needed: add proposals and build the dataset again"
        )
    store_px = 2 * image_size
    fits = len(tiles.rows) * store_px**2 <= CACHE_BYTES
    return TrainBatches(
        tiles=tiles,
        settings=settings,
        store_px=store_px,
        tokenize=remembering(tokenizer),
        choice=CaptionChoice(
            full_share=settings.full_abstract_share,
            other_share=settings.other_caption_share,
            max_tokens=context_length - SPECIAL_TOKENS,
            count_tokens=token_counter(tokenizer),
        ),
        order=BatchOrder(
            tiles_of=[np.flatnonzero(tiles.group_n == group) for group in range(tiles.num_groups)],
            batch_size=settings.batch_size,
            seed=settings.seed,
        ),
        partner=derangement(tiles.num_groups, settings.seed),
        rank=rank,
        world=world,
        cached=tiles.read_all(store_px) if fits else None,
    )


def iterate_batches(batches: TrainBatches, first_step: int, *, pin: bool) -> Iterator[TrainBatch]:
    """Batches of the steps from `first_step` (counted from 0) to the last, loaded by `settings.workers` processes.

    The processes are forked, so that they share the tiles in memory.
    """
    workers = batches.settings.workers
    steps = range(first_step, len(batches))
    context = "fork" if workers else None
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            pin_memory=pin,
            multiprocessing_context=context,
        )
    )


def remembering(tokenizer: Any) -> Tokenize:
    """The tokenizer with a memory: the same few sentences come back all the time."""

    @lru_cache(maxsize=1 << 16)
    def tokenize(text: str) -> Tensor:
        tokens: Tensor = tokenizer([text])
        return tokens

    return lambda texts: torch.cat([tokenize(text) for text in texts])


def token_counter(tokenizer: Any) -> Callable[[str], int]:
    """How many tokens a text takes, without start and end; asked of the padding where a tokenizer does not count."""
    if hasattr(tokenizer, "encode"):
        return lambda text: len(tokenizer.encode(text))
    return lambda text: max(0, int((tokenizer([text])[0] != tokenizer([""])[0][-1]).sum()) - SPECIAL_TOKENS)
