"""Vision transformers that embed by their first token: the last block then makes that token alone.

What the last block makes of the other tokens nobody reads, which is a twelfth of a ViT-B/16 less its keys and values.
"""

from __future__ import annotations

from typing import Any

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn


class FirstTokenBlock(nn.Module):
    """A block of open_clip, with its very layers, whose first token asks all and is all that comes out."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ls_1 = block.ln_1, block.attn, block.ls_1
        self.ln_2, self.mlp, self.ls_2 = block.ln_2, block.mlp, block.ls_2

    def forward(self, q_x: Tensor, k_x: None = None, v_x: None = None, attn_mask: None = None) -> Tensor:
        """From (b, n, d) to (b, 1, d)."""
        seen = self.ln_1(q_x)
        x = q_x[:, :1] + self.ls_1(self.attn(seen[:, :1], seen, seen, need_weights=False)[0])
        out: Tensor = x + self.ls_2(self.mlp(self.ln_2(x)))
        return out


def skip_unread_tokens(model: nn.Module) -> None:
    """Let the last block of the image tower make its first token alone, in place, where no other is read."""
    towers: list[Any] = [tower for tower in model.modules() if _reads_first_token_alone(tower)]
    for tower in towers:
        blocks = tower.transformer.resblocks
        blocks[-1] = FirstTokenBlock(blocks[-1])


def _reads_first_token_alone(tower: Any) -> bool:
    return (
        type(tower) is VisionTransformer
        and tower.pool_type == "tok"
        and tower.attn_pool is None
        and not tower.output_tokens
        and tower.transformer.batch_first
        and type(tower.transformer.resblocks[-1]) is ResidualAttentionBlock
    )
