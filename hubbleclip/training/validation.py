"""How well the model does on val while it trains: what the best checkpoint is chosen by."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hubbleclip.dataset.loader import SplitTiles, iterate_eval_images
from hubbleclip.training.losses import Loss
from hubbleclip.training.model import LoadedModel

BATCH = 256
TOP_SHARE = 0.1


def can_judge(tiles: SplitTiles) -> bool:
    """Whether a split has two groups and two captions at least: with one, every model finds the right one."""
    return tiles.num_groups > 1 and len({captions[0] for captions in tiles.captions}) > 1


def validate(loaded: LoadedModel, tiles: SplitTiles, loss: Loss) -> dict[str, float]:
    """Loss of the whole split as one batch, and `val_accuracy_10`: share of tiles with a caption of their own group in
    the top 10 % of all distinct captions. Whole tiles in a fixed order, main captions.
    """
    batches = iterate_eval_images(tiles, loaded.image_size, BATCH)
    image_nd = torch.cat([loaded.encode_images(batch) for batch in batches])
    caption_c, of_n = np.unique([captions[0] for captions in tiles.captions], return_inverse=True)
    parts = [
        loaded.encode_texts(caption_c[start : start + BATCH].tolist()) for start in range(0, len(caption_c), BATCH)
    ]
    text_cd, group_n = torch.cat(parts), torch.from_numpy(tiles.group_n)
    own_nc = torch.zeros(len(image_nd), len(caption_c), dtype=torch.bool)
    own_nc[:, of_n] = group_n[:, None] == group_n[None, :]
    model = loaded.model
    bias = None if model.logit_bias is None else model.logit_bias.detach().cpu()
    scale = model.logit_scale.detach().exp().cpu()
    entries = loss.compute(image_nd, text_cd[of_n], scale, bias, group_n)
    accuracy = top_share_accuracy(image_nd @ text_cd.T, own_nc)
    return {"val_loss": float(sum(entries.values())), "val_accuracy_10": accuracy}


def top_share_accuracy(scores_nc: Tensor, own_nc: Tensor) -> float:
    """Share of rows whose best own column is among the top 10 % of columns (rounded down, at least one); a tie counts
    as lost, so that equal scores everywhere earn nothing.
    """
    num_top = max(1, int(TOP_SHARE * scores_nc.shape[1]))
    best_n = scores_nc.masked_fill(~own_nc, -torch.inf).amax(dim=1, keepdim=True)
    ahead_n = ((scores_nc >= best_n) & ~own_nc).sum(dim=1)
    return float((ahead_n < num_top).double().mean())
