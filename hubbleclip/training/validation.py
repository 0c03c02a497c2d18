"""How well the model does on val while it trains: what the best checkpoint is chosen by."""

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
MAX_ROWS = 1024
"""Rows that are compared with each other, or with all captions, at once: more would fill the memory."""


def can_judge(tiles: SplitTiles) -> bool:
    """Whether a split has two groups and two captions at least: with one, every model finds the right one."""
    return tiles.num_groups > 1 and len({captions[0] for captions in tiles.captions}) > 1


def validate(loaded: LoadedModel, tiles: SplitTiles, loss: Loss) -> dict[str, float]:
    """Loss of the split as one batch, of at most 1,024 rows evenly spaced, and `val_accuracy_10`: share of all tiles
    with a caption of their own group in the top 10 % of all distinct captions. Whole tiles in a fixed order, main
    captions.
    """
    batches = iterate_eval_images(tiles, loaded.image_size, BATCH)
    image_nd = torch.cat([loaded.encode_images(batch) for batch in batches])
    caption_c, of_n = np.unique([captions[0] for captions in tiles.captions], return_inverse=True)
    parts = [
        loaded.encode_texts(caption_c[start : start + BATCH].tolist()) for start in range(0, len(caption_c), BATCH)
    ]
    text_cd, group_n = torch.cat(parts), torch.from_numpy(tiles.group_n)
    model = loaded.model
    bias = None if model.logit_bias is None else model.logit_bias.detach().cpu()
    scale = model.logit_scale.detach().exp().cpu()
    row_k = np.linspace(0, len(of_n) - 1, min(len(of_n), MAX_ROWS)).astype(np.int64)
    entries = loss.compute(image_nd[row_k], text_cd[of_n[row_k]], scale, bias, group_n[row_k])
    hits_n = torch.cat([
        top_share_hits(image_rd @ text_cd.T, _own_captions(group_r, group_n, of_n, len(caption_c)))
        for image_rd, group_r in zip(*(torch.split(part, MAX_ROWS) for part in (image_nd, group_n)), strict=True)
    ])  # fmt: skip
    return {"val_loss": float(sum(entries.values())), "val_accuracy_10": float(hits_n.double().mean())}


def _own_captions(group_r: Tensor, group_n: Tensor, of_n: npt.NDArray[np.int64], num_captions: int) -> Tensor:
    """Which captions (r, c) are of the group of each of some tiles."""
    own_rc = torch.zeros(len(group_r), num_captions, dtype=torch.bool)
    own_rc[:, of_n] = group_r[:, None] == group_n[None, :]
    return own_rc


def top_share_hits(scores_nc: Tensor, own_nc: Tensor) -> Tensor:
    """Whether the best own column of each row (n,) is among the top 10 % of columns (rounded down, at least one); a tie
    counts as lost, so that equal scores everywhere earn nothing.
    """
    num_top = max(1, int(TOP_SHARE * scores_nc.shape[1]))
    best_n = scores_nc.masked_fill(~own_nc, -torch.inf).amax(dim=1, keepdim=True)
    ahead_n = ((scores_nc >= best_n) & ~own_nc).sum(dim=1)
    return ahead_n < num_top
