"""Compute the accuracy on val during training; the checkpoint with the highest accuracy is the best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hubbleclip.dataset.reader import SplitTiles
from hubbleclip.training.embeddings import embed_open_tiles, embed_texts
from hubbleclip.training.losses import Loss, Pairs
from hubbleclip.training.models.builder import LoadedModel

BATCH = 256
TOP_SHARE = 0.1
"""A tile counts as correct if a caption of its group ranks in this top share of all captions, or ranks first."""
RECALLS = (1, 5, 10)
MAX_ROWS = 1024
"""Maximum number of rows of a similarity matrix between tiles and captions, to limit the memory."""


def is_informative(tiles: SplitTiles) -> bool:
    """Test whether a split can rank models. With a single group or a single caption, every model would score 1."""
    return tiles.num_groups > 1 and len(set(tiles.main_captions)) > 1


def validate(loaded: LoadedModel, tiles: SplitTiles, loss: Loss) -> dict[str, float]:
    """Compute the loss and accuracy of a model on a split, from whole tiles and their main captions.

    `val_accuracy_10` is the share of tiles for which a caption of their group is in the top 10 % of all captions.
    `val_i2t_recall_at_5` is the share of tiles for which a caption of their group is in the top 5.
    `val_t2i_recall_at_5` is the share of captions for which a tile of their group is in the top 5 of all tiles.
    `val_loss` is the loss of at most `MAX_ROWS` tiles as a batch.
    """
    image_nd = torch.from_numpy(embed_open_tiles(loaded, tiles, BATCH)).float()
    caption_c, caption_n = np.unique(tiles.main_captions, return_inverse=True)
    text_cd = torch.from_numpy(embed_texts(loaded, caption_c.tolist(), BATCH)).float()
    group_n = torch.from_numpy(tiles.group_n)
    model = loaded.model
    bias = None if model.logit_bias is None else model.logit_bias.detach().cpu()
    scale = model.logit_scale.detach().exp().cpu()
    # the memory of the loss is quadratic in the number of rows, so at most MAX_ROWS evenly spaced rows are used
    row_k = np.linspace(0, len(caption_n) - 1, min(len(caption_n), MAX_ROWS)).astype(np.int64)
    pairs = Pairs.of_features(image_nd[row_k], text_cd[caption_n[row_k]], scale, bias, group_n[row_k])
    entries = loss.compute(pairs)
    own_gc = torch.zeros(tiles.num_groups, len(caption_c), dtype=torch.bool)
    own_gc[group_n, caption_n] = True  # captions of each group; two groups may have the same caption
    ahead = {
        "i2t": _num_ahead_in_parts(image_nd, text_cd, lambda rows: own_gc[group_n[rows]]),
        "t2i": _num_ahead_in_parts(text_cd, image_nd, lambda rows: own_gc[:, rows][group_n].T),
    }
    recalls = {f"val_{name}_recall_at_{k}": _share(ahead_q < k) for name, ahead_q in ahead.items() for k in RECALLS}
    accuracy = _share(ahead["i2t"] < max(1, int(TOP_SHARE * len(caption_c))))
    return {"val_loss": float(sum(entries.values())), "val_accuracy_10": accuracy, **recalls}


def _num_ahead_in_parts(query_qd: Tensor, item_id: Tensor, is_own: Callable[[Tensor], Tensor]) -> Tensor:
    """Count, for each query (q,), the wrong items that rank above the first correct item."""
    parts = torch.split(torch.arange(len(query_qd)), MAX_ROWS)
    return torch.cat([num_ahead(query_qd[rows] @ item_id.T, is_own(rows)) for rows in parts])


def _share(is_true_q: Tensor) -> float:
    return float(is_true_q.double().mean())


def num_ahead(scores_nc: Tensor, own_nc: Tensor) -> Tensor:
    """Count, for each row (n,), the wrong columns that score at least as high as the best correct column."""
    best_n = scores_nc.masked_fill(~own_nc, -torch.inf).amax(dim=1, keepdim=True)
    # >= counts a tie as ahead, so that a model with constant scores has accuracy 0
    return ((scores_nc >= best_n) & ~own_nc).sum(dim=1)
