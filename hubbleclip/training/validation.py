"""Accuracy on val during training, by which the best checkpoint is chosen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hubbleclip.dataset.loader import SplitTiles, iterate_eval_images
from hubbleclip.training.losses import Loss
from hubbleclip.training.models.builder import LoadedModel

BATCH = 256
TOP_SHARE = 0.1
"""A query is right if its caption is in this share of the ranking."""
MAX_ROWS = 1024
"""Rows that are compared with each other, or with all captions, at once; bounds the memory."""


def is_informative(tiles: SplitTiles) -> bool:
    """Test whether a split can rank models: with a single group or caption, every model scores 1.

    Parameters
    ----------
    tiles
        A split.

    Returns
    -------
    bool
        True if the split has at least two groups and two main captions.

    """
    return tiles.num_groups > 1 and len({captions[0] for captions in tiles.captions}) > 1


def validate(loaded: LoadedModel, tiles: SplitTiles, loss: Loss) -> dict[str, float]:
    """Score a model on a split: whole tiles in a fixed order, without augmentation, main captions.

    Parameters
    ----------
    loaded
        The model to score.
    tiles
        The validation split.
    loss
        The training loss.

    Returns
    -------
    dict[str, float]
        `val_loss`, of at most 1,024 evenly spaced rows as one batch, and `val_accuracy_10`, the share of all tiles
        with a caption of their group in the top 10 % of all distinct captions.

    """
    batches = iterate_eval_images(tiles, loaded.image_size, BATCH)
    image_nd = torch.cat([loaded.encode_images(batch) for batch in batches])
    caption_c, caption_n = np.unique([captions[0] for captions in tiles.captions], return_inverse=True)
    parts = [
        loaded.encode_texts(caption_c[start : start + BATCH].tolist()) for start in range(0, len(caption_c), BATCH)
    ]
    text_cd, group_n = torch.cat(parts), torch.from_numpy(tiles.group_n)
    model = loaded.model
    bias = None if model.logit_bias is None else model.logit_bias.detach().cpu()
    scale = model.logit_scale.detach().exp().cpu()
    # the loss is quadratic in the rows: at most MAX_ROWS of them, evenly spaced
    row_k = np.linspace(0, len(caption_n) - 1, min(len(caption_n), MAX_ROWS)).astype(np.int64)
    entries = loss.compute(image_nd[row_k], text_cd[caption_n[row_k]], scale, bias, group_n[row_k])
    matches_n = torch.cat([
        top_share_matches(image_rd @ text_cd.T, _captions_of_groups(group_r, group_n, caption_n, len(caption_c)))
        for image_rd, group_r in zip(*(torch.split(part, MAX_ROWS) for part in (image_nd, group_n)), strict=True)
    ])  # fmt: skip
    return {"val_loss": float(sum(entries.values())), "val_accuracy_10": float(matches_n.double().mean())}


def _captions_of_groups(
    group_r: Tensor, group_n: Tensor, caption_n: npt.NDArray[np.int64], num_captions: int
) -> Tensor:
    """Which captions (r, c) belong to the group of each row."""
    own_rc = torch.zeros(len(group_r), num_captions, dtype=torch.bool)
    own_rc[:, caption_n] = group_r[:, None] == group_n[None, :]
    return own_rc


def top_share_matches(scores_nc: Tensor, own_nc: Tensor) -> Tensor:
    """Test whether the best correct column of each row is among the top 10 % of columns.

    Parameters
    ----------
    scores_nc
        Scores (n, c), higher is better.
    own_nc
        Which columns are correct (n, c); at least one per row.

    Returns
    -------
    Tensor
        Booleans (n,). The top 10 % is rounded down, but at least one column; a tie with a wrong column is a miss.

    """
    num_top = max(1, int(TOP_SHARE * scores_nc.shape[1]))
    best_n = scores_nc.masked_fill(~own_nc, -torch.inf).amax(dim=1, keepdim=True)
    # >=: a tie with another caption counts as a miss, so that constant scores earn nothing
    ahead_n = ((scores_nc >= best_n) & ~own_nc).sum(dim=1)
    return ahead_n < num_top
