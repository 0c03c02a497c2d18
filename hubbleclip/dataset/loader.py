"""Load batches of a dataset as tensors; tiles are read from byte ranges of the shards, in any order.

Each training batch depends only on the seed and the step. It does not depend on the number of loader threads or GPUs,
and it is the same in a resumed run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hubbleclip.config.model import GAIN_JITTER, WHOLE_SHARE
from hubbleclip.config.settings import TrainSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.parallel import ahead
from hubbleclip.dataset.reader import SplitTiles
from hubbleclip.dataset.sampler import (
    AUGMENTATION_STREAM,
    CaptionSampler,
    GroupBatchSampler,
    Ints,
    derangement,
    draw_views,
    positive_ids,
)

log = logging.getLogger(__name__)

CACHE_BYTES = 2 << 30
"""A split is kept in memory if its resized uint8 pixels take at most this number of bytes (2 GiB)."""
SPECIAL_TOKENS = 2
"""Number of tokens that a CLIP tokenizer adds to every text: one start token and one end token."""
BATCHES_PER_WORKER = 2
"""Number of batches that are prefetched per loader thread."""

Tokenize = Callable[[list[str]], Tensor]
"""Function that takes texts and returns token ids of shape (number of texts, context length)."""


class TrainBatch(NamedTuple):
    """Training batch of one step: b pairs of an image and a text.

    Attributes
    ----------
    tiles_b1ss
        Grey levels of the tiles, shape (b, 1, store_px, store_px), uint8.
    theta_b23
        Affine maps from view to tile coordinates, shape (b, 2, 3). A view is the random crop of a tile that the model
        sees; see `sampler.draw_views`.
    gain_b
        Brightness factors of the views, shape (b,).
    tokens_bl
        Token ids of the texts, shape (b, context length).
    group_ids_b2
        Group id and text id of each pair, shape (b, 2). Two pairs are positives if the group ids or the text ids are
        equal.

    """

    tiles_b1ss: Tensor
    theta_b23: Tensor
    gain_b: Tensor
    tokens_bl: Tensor
    group_ids_b2: Tensor


def iterate_eval_images(tiles: SplitTiles, image_size: int, batch_size: int) -> Iterator[Tensor]:
    """Yield the uncropped tiles of a split in order, in uint8 batches of shape (b, 1, image_size, image_size)."""
    parts = [range(start, min(start + batch_size, len(tiles.rows))) for start in range(0, len(tiles.rows), batch_size)]
    with ThreadPoolExecutor(1) as pool:  # one thread decodes while the model runs
        for images_byx in pool.map(partial(tiles.read_tiles, size_px=image_size), parts):
            yield torch.from_numpy(images_byx)[:, None]  # insert the channel axis


class TrainBatches:
    """Sequence of training batches, indexed by step.

    This process gets only the rows rank, rank + world, rank + 2 world, ... of each batch.

    Parameters
    ----------
    tiles
        The train split, opened for reading.
    settings
        Training settings, such as the seed, the batch size, the number of steps and the caption shares.
    image_size
        Side of the model's input in pixels. The tiles of a batch have twice this side, and the views that the model
        sees are cut from them on the training device.
    tokenizer
        Tokenizer of the model.
    context_length
        Number of tokens that the model reads, with the start token and the end token.
    rank, world
        Index of this process, and number of processes.
    cache_bytes
        The tiles are kept in memory if they need at most this number of bytes.

    """

    def __init__(
        self,
        tiles: SplitTiles,
        settings: TrainSettings,
        *,
        image_size: int,
        tokenizer: Any,
        context_length: int,
        rank: int = 0,
        world: int = 1,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if tiles.num_groups < 2:
            raise DatasetError(
                f"train has {tiles.num_groups} proposal groups, 2 are needed: add proposals and build the dataset again"
            )
        self.tiles, self.settings, self.rank, self.world = tiles, settings, rank, world
        self.tokenize = cached_tokenizer(tokenizer)
        captions = CaptionSampler(max_tokens=context_length - SPECIAL_TOKENS, count_tokens=token_counter(tokenizer))
        samples = zip(tiles.captions, tiles.caption_kinds, strict=True)
        self.caption_sampler = captions.with_token_shares(settings.captions, samples)
        ends = np.cumsum(np.bincount(tiles.group_n))[:-1]  # end index of each group in the rows sorted by group
        self.sampler = GroupBatchSampler(
            rows_of_group=np.split(np.argsort(tiles.group_n, kind="stable"), ends),
            batch_size=settings.batch_size,
            seed=settings.seed,
            class_of_group=_class_of_group(tiles) if settings.hard_share else None,
            hard_share=settings.hard_share,
        )
        self.partner = derangement(tiles.num_groups, settings.seed)  # used only if pairs are shuffled
        self.store_px = 2 * image_size  # so that a crop of a quarter of the tile's area is not upsampled
        fits = len(tiles.rows) * self.store_px**2 <= cache_bytes
        self.cached = tiles.read_all_tiles(self.store_px) if fits else None

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> TrainBatch:
        """Load this process's rows of the batch of a step; steps are counted from 0.

        Every process draws the texts of the whole batch, because two rows with equal texts are a positive pair even if
        different processes load them.
        """
        # The random generator is seeded with the step, so that a resumed run draws the same numbers.
        rng = np.random.default_rng([self.settings.seed, AUGMENTATION_STREAM, step])
        groups_b, rows_b = self.sampler.groups(step), self.sampler.rows(step)
        texts = [self._text(rng, group, row) for group, row in zip(groups_b, rows_b, strict=True)]
        theta = draw_views(rng, len(rows_b), self.settings.min_crop_share, WHOLE_SHARE)
        gain = np.exp(rng.uniform(-1, 1, len(rows_b)) * GAIN_JITTER).astype(np.float32)
        positives = positive_ids(groups_b.tolist(), texts)
        # If all pairs were positive, the contrastive loss would have no negative pair.
        if (positives == positives[0]).all(axis=0).any():
            raise DatasetError(
                f"all captions of batch {step} are the same, so the loss has no negative pair: give the proposals"
                " different texts or, if only some texts are the same, raise train.batch_size"
            )
        mine = slice(self.rank, None, self.world)
        rows_r = rows_b[mine]
        tiles_bss = self.tiles.read_tiles(rows_r, self.store_px) if self.cached is None else self.cached[rows_r]
        return TrainBatch(
            tiles_b1ss=torch.from_numpy(tiles_bss)[:, None],
            theta_b23=torch.from_numpy(theta[mine]),
            gain_b=torch.from_numpy(gain[mine]),
            tokens_bl=self.tokenize(texts[mine]),
            group_ids_b2=torch.from_numpy(positives[mine]),
        )

    def _text(self, rng: np.random.Generator, group: int, row: int) -> str:
        """Draw a text of the sample; if pairs are shuffled, draw it from a random sample of another group."""
        if self.settings.shuffled:
            row = int(rng.choice(self.sampler.rows_of_group[self.partner[group]]))
        return self.caption_sampler.draw(rng, self.tiles.captions[row], self.tiles.caption_kinds[row])


def _class_of_group(tiles: SplitTiles) -> Ints:
    """Return the class of each group: the index of the most frequent (category, instrument) pair of its tiles."""
    pairs = list(zip(*(tiles.rows[column].to_pylist() for column in ("category", "instrument")), strict=True))
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    counts = np.zeros((tiles.num_groups, len(numbers)), np.int64)
    np.add.at(counts, (tiles.group_n, np.array([numbers[pair] for pair in pairs])), 1)
    return np.asarray(counts.argmax(1))


def iterate_batches(batches: TrainBatches, first_step: int, *, pin: bool) -> Iterator[TrainBatch]:
    """Iterate over training batches; `settings.workers` threads load each batch before the caller asks for it."""
    # Threads and not processes: decoding, which takes most of the time, releases the interpreter lock, and threads
    # share the cached tiles and tokens.
    workers, steps = batches.settings.workers, range(first_step, len(batches))
    load = _pinned if pin else TrainBatches.__getitem__
    if not workers:
        yield from map(partial(load, batches), steps)
        return
    # Each thread has its own current CUDA device, initially device 0. It is set to the caller's device, because pinning
    # memory would otherwise open a CUDA context on device 0.
    set_device = partial(torch.cuda.set_device, torch.cuda.current_device()) if pin else None
    with ThreadPoolExecutor(workers, "loader", set_device) as pool:
        yield from ahead(pool, partial(load, batches), steps, BATCHES_PER_WORKER * workers)


def _pinned(batches: TrainBatches, step: int) -> TrainBatch:
    """Load the batch of a step and copy it to pinned memory, from which copies to a GPU are asynchronous."""
    return TrainBatch(*(part.pin_memory() for part in batches[step]))


def cached_tokenizer(tokenizer: Any) -> Tokenize:
    """Add a cache to a tokenizer, because the same sentences occur many times in a training run."""
    tokenize = lru_cache(1 << 16)(lambda text: tokenizer([text]))
    return lambda texts: torch.cat([tokenize(text) for text in texts])


def token_counter(tokenizer: Any) -> Callable[[str], int]:
    """Make a function that counts the tokens of a text, without the start token and the end token."""
    if hasattr(tokenizer, "encode"):
        return lambda text: len(tokenizer.encode(text))
    # Special tokens, such as the start token, and padding are not counted. An empty text has special tokens and then
    # padding, so its last token is the padding token, and its other tokens are the special tokens.
    empty_l = tokenizer([""])[0]
    padding, num_special = empty_l[-1], int((empty_l != empty_l[-1]).sum())
    return lambda text: int((tokenizer([text])[0] != padding).sum()) - num_special
