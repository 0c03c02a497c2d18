"""Batches of a dataset directory as tensors. Tiles are read by their place in the shard, in any order.

Every batch is a function of (seed, step): neither the number of loader threads nor of GPUs nor a resume changes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.parallel import ahead
from hubbleclip.dataset.caption_sampling import CaptionSampler
from hubbleclip.dataset.reader import Levels, SplitTiles, open_split
from hubbleclip.dataset.sampler import (
    AUGMENTATION_STREAM,
    GroupBatchSampler,
    Ints,
    derangement,
    draw_views,
    positive_ids,
)

__all__ = [
    "SplitTiles", "TrainBatch", "TrainBatches", "iterate_batches", "iterate_eval_images", "open_split",
    "open_train_batches",
]  # fmt: skip

log = logging.getLogger(__name__)

CACHE_BYTES = 2 << 30
"""Tiles of a split are kept in memory, reduced, when together they are not larger than this."""
SPECIAL_TOKENS = 2
BATCHES_PER_WORKER = 2
"""Loaded before they are asked for, a thread."""

Tokenize = Callable[[list[str]], Tensor]


class TrainBatch(NamedTuple):
    """ManifestRows of one step: uint8 tiles, their views and gains, tokens, and ids of group and text: rows are positives
    where either is equal.
    """

    tiles_b1ss: Tensor
    theta_b23: Tensor
    gain_b: Tensor
    tokens_bl: Tensor
    group_ids_b2: Tensor


def iterate_eval_images(tiles: SplitTiles, image_size: int, batch_size: int) -> Iterator[Tensor]:
    """Whole tiles (b, 1, image_size, image_size) uint8, in order, all of them, without augmentation; read ahead."""
    parts = [range(start, min(start + batch_size, len(tiles.rows))) for start in range(0, len(tiles.rows), batch_size)]
    with ThreadPoolExecutor(1) as pool:
        for levels in pool.map(partial(tiles.read_tiles, size_px=image_size), parts):
            yield torch.from_numpy(levels)[:, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainBatches:
    """Item `step` is this process's part of the batch of that step: rows rank, rank + world, ... of the whole.

    Tiles are stored at `store_px`, at most twice the model's image size: from there a view is cut on the device.
    """

    tiles: SplitTiles
    settings: TrainSettings
    store_px: int
    tokenize: Tokenize
    choice: CaptionSampler
    order: GroupBatchSampler
    partner: Ints
    rank: int
    world: int
    cached: Levels | None = field(repr=False)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> TrainBatch:
        """The batch of a step, counted from 0. Texts are drawn for all ranks: their equality decides the positives."""
        rng = np.random.default_rng([self.settings.seed, AUGMENTATION_STREAM, step])
        groups_b, rows_b = self.order.groups(step), self.order.rows(step)
        texts = [self._text(rng, group, row) for group, row in zip(groups_b, rows_b, strict=True)]
        theta = draw_views(rng, len(rows_b), self.settings.min_crop_share, self.settings.whole_share)
        gain = np.exp(rng.uniform(-1, 1, len(rows_b)) * self.settings.gain_jitter).astype(np.float32)
        positives = positive_ids(groups_b.tolist(), texts)
        if (positives == positives[0]).all(axis=0).any():
            raise DatasetError(
                f"all captions of batch {step} are the same, so that nothing can be told apart: give the proposals"
                " texts of their own or, where only some are the same, raise train.batch_size"
            )
        mine = slice(self.rank, None, self.world)
        return TrainBatch(
            tiles_b1ss=torch.from_numpy(self._levels(rows_b[mine]))[:, None],
            theta_b23=torch.from_numpy(theta[mine]),
            gain_b=torch.from_numpy(gain[mine]),
            tokens_bl=torch.cat([self.tokenize([text]) for text in texts[mine]]),
            group_ids_b2=torch.from_numpy(positives[mine]),
        )

    def _text(self, rng: np.random.Generator, group: int, row: int) -> str:
        """A text of the sample, or of a sample of the partner group where pairs are shuffled."""
        if self.settings.shuffled:
            row = int(rng.choice(self.order.rows_of_group[self.partner[group]]))
        return self.choice.draw(rng, self.tiles.captions[row])

    def _levels(self, rows_b: Ints) -> Levels:
        if self.cached is not None:
            return self.cached[rows_b]
        return self.tiles.read_tiles(rows_b, self.store_px)


def open_train_batches(
    tiles: SplitTiles,
    settings: TrainSettings,
    *,
    image_size: int,
    tokenizer: Any,
    context_length: int,
    rank: int = 0,
    world: int = 1,
    cache_bytes: int = CACHE_BYTES,
) -> TrainBatches:
    """Batches of a train split, kept in memory where its tiles, reduced, take at most `cache_bytes`.

    Raises DatasetError for fewer than 2 groups: nothing could be told apart.
    """
    if tiles.num_groups < 2:
        raise DatasetError(
            f"train has {tiles.num_groups} proposal groups, 2 are needed: add proposals and build the dataset again"
        )
    ends = np.cumsum(np.bincount(tiles.group_n))[:-1]
    store_px = 2 * image_size
    fits = len(tiles.rows) * store_px**2 <= cache_bytes
    return TrainBatches(
        tiles=tiles,
        settings=settings,
        store_px=store_px,
        tokenize=cached_tokenizer(tokenizer),
        choice=CaptionSampler(
            full_share=settings.full_abstract_share,
            other_share=settings.other_caption_share,
            max_tokens=context_length - SPECIAL_TOKENS,
            count_tokens=token_counter(tokenizer),
        ),
        order=GroupBatchSampler(
            rows_of_group=np.split(np.argsort(tiles.group_n, kind="stable"), ends),
            batch_size=settings.batch_size,
            seed=settings.seed,
        ),
        partner=derangement(tiles.num_groups, settings.seed),
        rank=rank,
        world=world,
        cached=tiles.read_all_tiles(store_px) if fits else None,
    )


def iterate_batches(batches: TrainBatches, first_step: int, *, pin: bool) -> Iterator[TrainBatch]:
    """Batches of the steps from `first_step` (counted from 0) to the last, loaded ahead by `settings.workers` threads.

    Threads, since decoding, which is nearly all of the work, frees the interpreter: they start at once, share tiles and
    tokens, and hand a batch over as it is, where processes would copy it into memory that both see.
    """
    workers, steps = batches.settings.workers, range(first_step, len(batches))
    load = _pinned if pin else TrainBatches.__getitem__
    if not workers:
        yield from map(partial(load, batches), steps)
        return
    on_device = partial(torch.cuda.set_device, torch.cuda.current_device()) if pin else None
    with ThreadPoolExecutor(workers, "loader", on_device) as pool:
        yield from ahead(pool, partial(load, batches), steps, BATCHES_PER_WORKER * workers)


def _pinned(batches: TrainBatches, step: int) -> TrainBatch:
    """A batch in memory from which the device copies without waiting."""
    return TrainBatch(*(part.pin_memory() for part in batches[step]))


def cached_tokenizer(tokenizer: Any) -> Tokenize:
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
