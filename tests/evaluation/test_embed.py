"""Embedding at less precision: faster weights, the same features."""

import numpy as np
import pytest
import torch
from small_dataset import MODEL

from hubbleclip.config.settings import ModelSettings
from hubbleclip.evaluation.precision import native_precision, prepare_for_embedding
from hubbleclip.training.embeddings import embed_texts
from hubbleclip.training.models.builder import load_model

TEXTS = ["a spiral galaxy", "We propose to observe a comet. Its tail tells of its age."]


@pytest.mark.parametrize("model", [MODEL, ModelSettings(name="ViT-S-32", pretrained="")], ids=lambda m: m.name)
def test_rounded_weights_give_nearly_the_same_features(model) -> None:
    full, rounded = (prepare_for_embedding(load_model(model, 1), precision) for precision in ("fp32", "bf16"))
    size = full.image_size
    tiles = torch.randint(0, 256, (4, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    pairs = [
        (full.encode_images(tiles).numpy(), rounded.encode_images(tiles).numpy()),
        (embed_texts(full, TEXTS, 8), embed_texts(rounded, TEXTS, 8)),
    ]
    for exact, near in pairs:
        assert np.min(np.sum(exact * near, axis=1)) > 0.999
        np.testing.assert_allclose(np.linalg.norm(near, axis=1), 1, atol=1e-6)
        assert not np.array_equal(exact, near)


def test_automatic_precision_is_one_that_the_device_computes_in() -> None:
    loaded = prepare_for_embedding(load_model(MODEL, 1), "auto")
    assert loaded.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[native_precision(loaded.device.type)]


def test_short_texts_are_encoded_in_few_tokens() -> None:
    loaded = load_model(MODEL, 1)
    lengths = []
    loaded.model.transformer.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    short = loaded.encode_texts(["a comet"])
    with_long = loaded.encode_texts(["a comet", " ".join(["star"] * 40)])
    assert lengths == [4, 42]
    torch.testing.assert_close(short[0], with_long[0], atol=1e-5, rtol=0)
