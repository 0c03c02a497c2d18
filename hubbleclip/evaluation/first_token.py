"""Vision transformers that embed by their first token: the last block then makes that token alone.

What the last block makes of the other tokens nobody reads, which is a twelfth of a ViT-B/16 less its keys and values.
"""

from __future__ import annotations

from typing import Any

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn


class FirstTokenBlock(ResidualAttentionBlock):  # type: ignore[misc]
    """open_clip's block, whose first token asks all and is all that comes out."""

    def forward(self, q_x: Tensor, k_x: None = None, v_x: None = None, attn_mask: None = None) -> Tensor:
        """From (b, n, d) to (b, 1, d)."""
        seen = self.ln_1(q_x)
        x = q_x[:, :1] + self.ls_1(self.attention(seen[:, :1], seen, seen))
        out: Tensor = x + self.ls_2(self.mlp(self.ln_2(x)))
        return out


def skip_unread_tokens(model: nn.Module) -> None:
    """Let the last block of the image tower make its first token alone, in place, where no other is read."""
    tower: Any
    for tower in model.modules():
        if _reads_first_token_alone(tower):
            tower.transformer.resblocks[-1].__class__ = FirstTokenBlock


def _reads_first_token_alone(tower: Any) -> bool:
    return (
        type(tower) is VisionTransformer
        and tower.pool_type == "tok"
        and tower.attn_pool is None
        and not tower.output_tokens
        and tower.transformer.batch_first
        and type(tower.transformer.resblocks[-1]) is ResidualAttentionBlock
    )
