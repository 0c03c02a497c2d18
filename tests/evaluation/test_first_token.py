"""A last block that makes its first token alone gives the features of one that makes all."""

import copy

import pytest
import torch
from open_clip.transformer import VisionTransformer

from hubbleclip.evaluation.first_token import FirstTokenBlock, skip_unread_tokens

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def towers(**options) -> tuple[VisionTransformer, VisionTransformer]:
    """A small tower as it is, and one whose unread tokens are skipped."""
    torch.manual_seed(0)
    sizes = {
        "image_size": 32,
        "patch_size": 8,
        "width": 32,
        "layers": 3,
        "heads": 2,
        "mlp_ratio": 2.0,
        "output_dim": 16,
    }
    whole = VisionTransformer(**sizes, **options).eval()
    skipped = copy.deepcopy(whole)
    skip_unread_tokens(torch.nn.Sequential(skipped))
    return whole, skipped


@pytest.mark.parametrize("options", [{}, {"ls_init_value": 0.1}, {"final_ln_after_pool": True}], ids=str)
@torch.inference_mode()
def test_the_first_token_alone_gives_the_same_features(options) -> None:
    whole, skipped = towers(pool_type="tok", **options)
    made = []
    skipped.transformer.resblocks[-1].register_forward_hook(lambda _, __, output: made.append(output.shape[1]))
    torch.testing.assert_close(skipped(IMAGES), whole(IMAGES), atol=1e-5, rtol=1e-5)
    assert made == [1]
    assert skipped.state_dict().keys() == whole.state_dict().keys()


@pytest.mark.parametrize("options", [{"pool_type": "avg"}, {"pool_type": "tok", "output_tokens": True}], ids=str)
def test_a_tower_whose_other_tokens_are_read_stays(options) -> None:
    _, left = towers(**options)
    assert not any(isinstance(module, FirstTokenBlock) for module in left.modules())
