"""The reference's flaws in training: every test fails for the code that has the flaw.

PAPERCLIP (arXiv 2403.08851), github.com/smsharma/PAPERCLIP-Hubble, commit 1767fde. Where its code has a flaw:
unexponentiated scale models/train_utils.py:21, models/losses.py:91; augmentation at evaluation train.py:359-405; one crop
a batch train.py:502-523; cast token ids train.py:429, 553; words counted for tokens utils/text_utils.py:50-81; white fill
train.py:379; recency train.py:209-215. Single positives and dropped batches are in `tests/evaluation`.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from opened_trainers import opened
from squares_dataset import MODEL, TRAIN

from hubbleclip.dataset.loader import iterate_eval_images
from hubbleclip.training import checkpoints
from hubbleclip.training.loop import _initial_model
from hubbleclip.training.trainer import render_views
from hubbleclip.training.validation import validate


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


def test_reshuffled_validation_and_augmentation_at_evaluation(dataset_dir, tmp_path) -> None:
    """Validation gives the same numbers each time, whatever was drawn before, and sees whole tiles."""
    trainer, _ = opened(dataset_dir, run_dir=tmp_path)
    first = validate(trainer.loaded, trainer.val, trainer.gradients.loss)
    torch.manual_seed(99)
    np.random.seed(99)
    assert validate(trainer.loaded, trainer.val, trainer.gradients.loss) == first
    whole = trainer.val.read_tiles([0], trainer.loaded.image_size)[0]
    assert np.array_equal(next(iterate_eval_images(trainer.val, trainer.loaded.image_size, 1))[0, 0], whole)


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


def test_white_fill(dataset_dir, tmp_path) -> None:
    """No view has a pixel that is brighter than its tile: nothing is filled with white, nor with anything."""
    _, batches = opened(dataset_dir, run_dir=tmp_path, batch_size=6)
    for step in range(6):
        tiles, theta, gain, *_ = batches[step]
        dark = torch.clamp(tiles, max=40)
        views = render_views(dark, theta, gain, 32)
        assert 0 < (views / gain.view(-1, 1, 1, 1)).max() <= 40 / 255 + 1e-6


def test_words_counted_for_tokens(dataset_dir, tmp_path) -> None:
    """Chunks of sentences fit the model's context as its tokenizer counts: these few words are many tokens."""
    _, batches = opened(dataset_dir, run_dir=tmp_path, captions={"abstract_sentences": 1.0})
    loaded = _initial_model(MODEL, TRAIN)
    text = " ".join(f"RXJ185635.{n} at 4.{n}E-15 erg." for n in range(9))
    rng = np.random.default_rng(1)
    lengths = [len(loaded.tokenizer.encode(batches.caption_sampler.draw(rng, [text]))) for _ in range(40)]
    assert len(text.split()) < 40 < len(loaded.tokenizer.encode(text))
    assert max(lengths) <= loaded.context_length - 2


def test_checkpoint_taken_by_recency(dataset_dir, tmp_path) -> None:
    """The checkpoint with the best retrieval on val is kept while later ones come, also those of a lower loss."""
    trainer, _ = opened(dataset_dir, run_dir=tmp_path, validate_every=1)
    with torch.no_grad():
        trainer.loaded.model.logit_scale.fill_(math.log(100))
    seen = []
    for step in (1, 2, 3, 4):
        trainer.step = step
        seen.append(trainer.validate_if_due())
        trainer.save()
        with torch.no_grad():
            trainer.loaded.model.visual.proj.zero_()  # every image alike: no retrieval, and a moderate loss
    assert seen[0]["val_accuracy_10"] > seen[1]["val_accuracy_10"] and seen[0]["val_loss"] > seen[1]["val_loss"]
    assert checkpoints.read_best(tmp_path) == {"step": 1, "score": seen[0]["val_accuracy_10"]}
    assert checkpoints.list_steps(tmp_path) == [1, 3, 4]
