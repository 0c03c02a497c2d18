"""The reference's flaws in training: every test fails for the code that has the flaw.

PAPERCLIP (arXiv 2403.08851), github.com/smsharma/PAPERCLIP-Hubble, commit 1767fde. Where its code has a flaw:
unexponentiated scale models/train_utils.py:21, models/losses.py:91; one crop a batch train.py:502-523; cast token ids
train.py:429, 553; words counted for tokens utils/text_utils.py:50-81.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from opened_trainers import opened
from squares_dataset import MODEL, TRAIN

from hubbleclip.training.loop import _initial_model
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


def test_one_crop_for_a_whole_batch(dataset_dir, tmp_path) -> None:
    """Each image of a batch has a crop, a turn and a mirroring of its own, and some tiles are seen whole."""
    _, batches = opened(dataset_dir, run_dir=tmp_path, batch_size=6)
    theta = torch.cat([batches[step].theta_b23 for step in range(6)])
    assert all(len(np.unique(batches[step].theta_b23[:, :, 2], axis=0)) > 1 for step in range(6))
    turns = {tuple(map(round, (t[:, :2] / t[:, :2].abs().max()).flatten().tolist())) for t in theta}
    assert len(turns) == 8
    is_whole = (theta[:, :, :2].abs().amax((1, 2)) == 1) & (theta[:, :, 2] == 0).all(1)
    assert 0 < is_whole.sum() < len(theta)


def test_token_ids_cast_to_bf16(dataset_dir, tmp_path) -> None:
    """Under bf16 the model is given token ids as whole numbers: rounded to 8 bits they would name other words."""
    trainer, batches = opened(dataset_dir, run_dir=tmp_path, precision="bf16")
    seen = []
    trainer.loaded.model.token_embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trainer.train_step(batches[0])
    assert not seen[0].is_floating_point()
    assert torch.equal(seen[0], trainer.loaded.trim_padding(batches[0].tokens_bl))
    assert not torch.equal(seen[0].bfloat16().long(), seen[0])


def test_words_counted_for_tokens(dataset_dir, tmp_path) -> None:
    """Chunks of sentences fit the model's context as its tokenizer counts: these few words are many tokens."""
    _, batches = opened(dataset_dir, run_dir=tmp_path, captions={"abstract_sentences": 1.0})
    loaded = _initial_model(MODEL, TRAIN)
    text = " ".join(f"RXJ185635.{n} at 4.{n}E-15 erg." for n in range(9))
    rng = np.random.default_rng(1)
    lengths = [len(loaded.tokenizer.encode(batches.caption_sampler.draw(rng, [text]))) for _ in range(40)]
    assert len(text.split()) < 40 < len(loaded.tokenizer.encode(text))
    assert max(lengths) <= loaded.context_length - 2
