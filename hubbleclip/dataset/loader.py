"""Batches of a dataset as tensors; tiles are read by their byte ranges in the shards, in any order.

Every batch is a function of seed and step: the numbers of loader threads and GPUs and a resume do not change it.
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
from hubbleclip.dataset.reader import GreyLevels, SplitTiles, open_split
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
"""Largest split, in bytes of resized uint8 pixels, that is kept in memory: 2 GiB."""
SPECIAL_TOKENS = 2
"""The start and end tokens that a CLIP tokenizer adds to every text."""
BATCHES_PER_WORKER = 2
"""Batches that each loader thread prefetches."""

Tokenize = Callable[[list[str]], Tensor]
"""Texts to token ids of shape (texts, context length)."""


class TrainBatch(NamedTuple):
    """Rows of one training step.

    Attributes
    ----------
    tiles_b1ss
        Tiles (b, 1, store_px, store_px), uint8.
    theta_b23
        Affine map (b, 2, 3) from view to tile coordinates: see `sampler.draw_views`.
    gain_b
        Brightness factor (b,) of each view.
    tokens_bl
        Token ids (b, context length) of the texts.
    group_ids_b2
        Ids (b, 2) of group and text; rows are positives where either is equal.

    """

    tiles_b1ss: Tensor
    theta_b23: Tensor
    gain_b: Tensor
    tokens_bl: Tensor
    group_ids_b2: Tensor


def iterate_eval_images(tiles: SplitTiles, image_size: int, batch_size: int) -> Iterator[Tensor]:
    """Iterate over all tiles of a split in order, whole and without augmentation; the next batch is read ahead.

    Parameters
    ----------
    tiles
        Open split.
    image_size
        Side of the model's input in pixels.
    batch_size
        Tiles per batch; the last one may be smaller.

    Yields
    ------
    Tensor
        Shape (b, 1, image_size, image_size), uint8.

    """
    parts = [range(start, min(start + batch_size, len(tiles.rows))) for start in range(0, len(tiles.rows), batch_size)]
    with ThreadPoolExecutor(1) as pool:  # one thread decodes while the model runs
        for images_byx in pool.map(partial(tiles.read_tiles, size_px=image_size), parts):
            yield torch.from_numpy(images_byx)[:, None]  # the channel axis


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainBatches:
    """Training batches by step; each process sees the rows rank, rank + world, ... of the whole batch.

    Attributes
    ----------
    tiles
        Open train split.
    settings
        Seed, number of steps, augmentation and caption shares.
    store_px
        Side of the tiles in a batch, twice the model's image size: views are cut from them on the device.
    tokenize
        Cached tokenizer.
    caption_sampler
        Draws a text per tile.
    sampler
        Chooses groups and tiles of each step.
    partner
        Group (groups,) whose texts each group gets when pairs are shuffled.
    rank, world
        Index of this process, and number of processes.
    cached
        All tiles (n, store_px, store_px), or None where they exceed the memory limit.

    """

    tiles: SplitTiles
    settings: TrainSettings
    store_px: int
    tokenize: Tokenize
    caption_sampler: CaptionSampler
    sampler: GroupBatchSampler
    partner: Ints
    rank: int
    world: int
    cached: GreyLevels | None = field(repr=False)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> TrainBatch:
        """Batch of a step, counted from 0; all ranks draw all texts, because their equality decides the positives."""
        # Seeded by the step and not carried from batch to batch: a resumed run draws the same numbers.
        rng = np.random.default_rng([self.settings.seed, AUGMENTATION_STREAM, step])
        groups_b, rows_b = self.sampler.groups(step), self.sampler.rows(step)
        texts = [self._text(rng, group, row) for group, row in zip(groups_b, rows_b, strict=True)]
        theta = draw_views(rng, len(rows_b), self.settings.min_crop_share, self.settings.whole_share)
        gain = np.exp(rng.uniform(-1, 1, len(rows_b)) * self.settings.gain_jitter).astype(np.float32)
        positives = positive_ids(groups_b.tolist(), texts)
        if (positives == positives[0]).all(axis=0).any():  # every pair is positive: a contrastive loss has no negative
            raise DatasetError(
                f"all captions of batch {step} are the same, which leaves no negative pair: give the proposals"
                " different texts or, where only some are the same, raise train.batch_size"
            )
        mine = slice(self.rank, None, self.world)
        return TrainBatch(
            tiles_b1ss=torch.from_numpy(self._read(rows_b[mine]))[:, None],
            theta_b23=torch.from_numpy(theta[mine]),
            gain_b=torch.from_numpy(gain[mine]),
            tokens_bl=torch.cat([self.tokenize([text]) for text in texts[mine]]),
            group_ids_b2=torch.from_numpy(positives[mine]),
        )

    def _text(self, rng: np.random.Generator, group: int, row: int) -> str:
        """Draw a text of the sample, or of a random sample of the partner group when pairs are shuffled."""
        if self.settings.shuffled:
            row = int(rng.choice(self.sampler.rows_of_group[self.partner[group]]))
        return self.caption_sampler.draw(rng, self.tiles.captions[row])

    def _read(self, rows_b: Ints) -> GreyLevels:
        """Tiles (b, store_px, store_px) from memory or from the shards."""
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
    """Open the batches of a train split.

    Parameters
    ----------
    tiles
        Open train split.
    settings
        Seed, batch size, number of steps, augmentation and caption shares.
    image_size
        Side of the model's input in pixels.
    tokenizer
        List of texts to token ids, as in open_clip.
    context_length
        Tokens per text, start and end included.
    rank
        Index of this process.
    world
        Number of processes.
    cache_bytes
        Tiles are kept in memory if their resized pixels take at most this.

    Returns
    -------
    TrainBatches
        Batches by step.

    Raises
    ------
    DatasetError
        For fewer than 2 groups: there would be no negative pair.

    """
    if tiles.num_groups < 2:
        raise DatasetError(
            f"train has {tiles.num_groups} proposal groups, 2 are needed: add proposals and build the dataset again"
        )
    ends = np.cumsum(np.bincount(tiles.group_n))[:-1]  # where each group ends in the rows sorted by group
    store_px = 2 * image_size  # a crop of a quarter of the area still has the model's resolution
    fits = len(tiles.rows) * store_px**2 <= cache_bytes
    return TrainBatches(
        tiles=tiles,
        settings=settings,
        store_px=store_px,
        tokenize=cached_tokenizer(tokenizer),
        caption_sampler=CaptionSampler(
            full_share=settings.full_abstract_share,
            other_share=settings.other_caption_share,
            max_tokens=context_length - SPECIAL_TOKENS,
            count_tokens=token_counter(tokenizer),
        ),
        sampler=GroupBatchSampler(
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
    """Iterate over batches, loaded ahead by `settings.workers` threads.

    Parameters
    ----------
    batches
        Open batches.
    first_step
        First step, counted from 0.
    pin
        Whether to copy batches to pinned memory, for asynchronous copies to a GPU.

    Yields
    ------
    TrainBatch
        From `first_step` to the last step, in order.

    Notes
    -----
    Threads and not processes: decoding, nearly all of the work, releases the interpreter lock. Threads start at once,
    share tiles and tokens, and pass a batch without a copy through shared memory.

    """
    workers, steps = batches.settings.workers, range(first_step, len(batches))
    load = _pinned if pin else TrainBatches.__getitem__
    if not workers:
        yield from map(partial(load, batches), steps)
        return
    # The current CUDA device is set per thread: without this, pinning in a thread would open a context on device 0.
    set_device = partial(torch.cuda.set_device, torch.cuda.current_device()) if pin else None
    with ThreadPoolExecutor(workers, "loader", set_device) as pool:
        yield from ahead(pool, partial(load, batches), steps, BATCHES_PER_WORKER * workers)


def _pinned(batches: TrainBatches, step: int) -> TrainBatch:
    """Batch in pinned memory, from which the device copies asynchronously."""
    return TrainBatch(*(part.pin_memory() for part in batches[step]))


def cached_tokenizer(tokenizer: Any) -> Tokenize:
    """Wrap a tokenizer in a cache, because the same sentences recur throughout a training.

    Parameters
    ----------
    tokenizer
        List of texts to token ids.

    Returns
    -------
    Tokenize
        Same results as the tokenizer.

    """

    @lru_cache(maxsize=1 << 16)
    def tokenize(text: str) -> Tensor:
        tokens: Tensor = tokenizer([text])
        return tokens

    return lambda texts: torch.cat([tokenize(text) for text in texts])


def token_counter(tokenizer: Any) -> Callable[[str], int]:
    """Function that counts the tokens of a text, without start and end tokens.

    Parameters
    ----------
    tokenizer
        Its `encode` is used where it exists; otherwise tokens that are not padding are counted.

    Returns
    -------
    Callable[[str], int]
        Text to number of tokens.

    """
    if hasattr(tokenizer, "encode"):
        return lambda text: len(tokenizer.encode(text))
    # The empty text ends in padding: every token that is not padding counts.
    return lambda text: max(0, int((tokenizer([text])[0] != tokenizer([""])[0][-1]).sum()) - SPECIAL_TOKENS)
