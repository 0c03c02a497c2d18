"""The reference's flaws in training: every test fails for the code that has the flaw.

PAPERCLIP (arXiv 2403.08851), github.com/smsharma/PAPERCLIP-Hubble, commit 1767fde. Where its code has a flaw:
unexponentiated scale models/train_utils.py:21, models/losses.py:91; cast token ids train.py:429, 553.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from opened_trainers import opened

from hubbleclip.training.trainer import render_views


def test_unexponentiated_scale(dataset_dir, tmp_path) -> None:
    """The loss of a step is the one at exp(logit_scale), as CLIP trains, and not at its logarithm."""
    trainer, batches = opened(dataset_dir, run_dir=tmp_path, loss="info_nce", ema=0.5)
    with torch.no_grad():
        trainer.loaded.model.logit_scale.fill_(math.log(100))
    model, batch = trainer.loaded.model, batches[0]
    tiles = render_views(batch.tiles_b1ss, batch.theta_b23, batch.gain_b, trainer.loaded.image_size)
    with torch.no_grad():
        image, text, _ = model(trainer.loaded.normalise(tiles), batch.tokens_bl)
    similarity, target = image @ text.T, torch.arange(len(image))
    expected = {
        scale: (
            (F.cross_entropy(scale * similarity, target) + F.cross_entropy(scale * similarity.T, target)) / 2
        ).item()
        for scale in (100.0, math.log(100))
    }
    metrics = trainer.train_step(batch)
    assert metrics["logit_scale"] == pytest.approx(100)
    assert metrics["loss"] == pytest.approx(expected[100.0], rel=1e-4)
    assert metrics["loss"] != pytest.approx(expected[math.log(100)], rel=1e-2)


def test_token_ids_cast_to_bf16(dataset_dir, tmp_path) -> None:
    """Under bf16 the model is given token ids as whole numbers: rounded to 8 bits they would name other words."""
    trainer, batches = opened(dataset_dir, run_dir=tmp_path, precision="bf16")
    seen = []
    trainer.loaded.model.token_embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trainer.train_step(batches[0])
    assert not seen[0].is_floating_point()
    assert torch.equal(seen[0], trainer.loaded.trim_padding(batches[0].tokens_bl))
    assert not torch.equal(seen[0].bfloat16().long(), seen[0])
