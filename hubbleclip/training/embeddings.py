"""Compute features of tiles and of texts of any length; validation and evaluation use the same functions.

A text that is longer than the model's context is split into pieces that fit it (see `captions.split_to_fit`). The
feature of such a text is the normalised mean of the features of its pieces, so that no word is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hubbleclip.core.errors import TrainingError
from hubbleclip.core.vectors import first_non_finite_row, unit
from hubbleclip.dataset.captions import split_to_fit
from hubbleclip.training.models.builder import LoadedModel

if TYPE_CHECKING:
    from hubbleclip.dataset.reader import SplitTiles


Floats = npt.NDArray[np.float64]
MAX_NAME = 60
"""Number of characters of a text that an error message shows."""
CACHED_TEXTS = 4096
"""Number of texts in the cache of `split_for`; it saves time if several models or checkpoints embed the same texts."""


def embed_open_tiles(loaded: LoadedModel, tiles: SplitTiles, batch_size: int) -> Floats:
    """Compute the features (n, d) of the tiles of a split; raises TrainingError if a feature is not finite."""
    from hubbleclip.dataset.loader import iterate_eval_images  # noqa: PLC0415 - a search, which embeds a text, needs none

    batches = [loaded.encode_images(batch) for batch in iterate_eval_images(tiles, loaded.image_size, batch_size)]
    return _finite_features(batches, [f"tile {tile_id}" for tile_id in tiles.rows["tile_id"].to_pylist()])


def embed_texts(loaded: LoadedModel, texts: Sequence[str], batch_size: int) -> Floats:
    """Embed texts of any length; the feature of a long text is the normalised mean of the features of its pieces."""
    pieces = [split_for(loaded.tokenizer, loaded.context_length, text) for text in texts]
    # Pieces of different texts are embedded in the same batch. For each piece, text_p (p,) is the index of its text.
    text_p = np.repeat(np.arange(len(texts)), [len(of_text) for of_text in pieces])
    feat_pd = embed_short_texts(loaded, [piece for of_text in pieces for piece in of_text], batch_size)
    sums_nd = np.zeros((len(texts), feat_pd.shape[1]))
    np.add.at(sums_nd, text_p, feat_pd)
    # The sum is not divided by the number of terms, because `unit` normalises the length anyway.
    return unit(sums_nd)


def embed_short_texts(loaded: LoadedModel, texts: Sequence[str], batch_size: int) -> Floats:
    """Embed texts that fit the model's context; the tokenizer truncates a text that does not fit."""
    batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    return _finite_features(
        [loaded.encode_texts(batch) for batch in batches], [f"text {text[:MAX_NAME]!r}" for text in texts]
    )


@lru_cache(CACHED_TEXTS)
def split_for(tokenizer: Any, context_length: int, text: str) -> tuple[str, ...]:
    """Split a text into pieces that fit a context; the result is cached for all models that have the same tokenizer."""
    return tuple(split_to_fit(text, partial(fits_context, tokenizer, context_length)))


def fits_context(tokenizer: Any, context_length: int, text: str) -> bool:
    """Return whether a text fits a context without losing a token."""
    # A text fits if doubling the context length adds no token except padding. The padding token is taken from the empty
    # text, but not from its end, because the last token may be a class token.
    tokens_2l, empty_2l = tokenizer([text, ""], context_length=2 * context_length)
    (tokens_l,) = tokenizer([text], context_length=context_length)
    padding = empty_2l[-2]
    return torch.equal(tokens_2l[tokens_2l != padding], tokens_l[tokens_l != padding])


def _finite_features(batches: Sequence[Tensor], names: Sequence[str]) -> Floats:
    """Concatenate features; raise TrainingError with the name of the first row that is not finite."""
    feat_nd: Floats = torch.cat(list(batches)).double().numpy()
    bad = first_non_finite_row(feat_nd)
    if bad is not None:
        raise TrainingError(
            f"the model gives {names[bad]} a feature that is not finite: lower train.learning_rate, or set "
            "train.precision or evaluation.precision to 'fp32'"
        )
    return feat_nd


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def prepare_for_embedding(loaded: LoadedModel, precision: str) -> LoadedModel:
    """Move a model to the GPU if there is one, and cast its weights to a precision; the model is changed in place.

    Casting the weights once is faster than autocast, which casts the weights again for every batch.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded.model.to(device, DTYPES[resolve_precision(precision)])
    return loaded


def resolve_precision(precision: str) -> str:
    """Replace `auto` by `bf16` if the device in use multiplies bfloat16 in hardware, and by `fp32` if not."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_native = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16" if is_native else "fp32"
