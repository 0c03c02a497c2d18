"""Features of tiles and texts: long texts in pieces, any tokenizer, no feature that is not a number."""

import numpy as np
import pytest
import torch
from squares_dataset import MODEL

from hubbleclip.core.errors import TrainingError
from hubbleclip.training.embeddings import embed_open_tiles, embed_texts, fits_context, split_for
from hubbleclip.training.models.builder import LoadedModel, load_model


@pytest.fixture
def loaded() -> LoadedModel:
    return load_model(MODEL, 1)


class WordTokenizer:
    """One token per word, then an end token; `class_token` ends every row, as in the tokenizers of CLIPS."""

    def __init__(self, padding: int = 0, end: int = 1, class_token: int | None = None) -> None:
        self.padding, self.end, self.class_token = padding, end, class_token
        self.context_length = 8

    def __call__(self, texts, context_length=None):
        length = (context_length or self.context_length) - (self.class_token is not None)
        rows = []
        for text in texts:
            words = [10 + len(word) for word in text.split()][: length - 1]
            row = [*words, self.end, *[self.padding] * (length - 1 - len(words))]
            rows.append(row if self.class_token is None else [*row, self.class_token])
        return torch.tensor(rows)


TOKENIZERS = {
    "padding of its own": WordTokenizer(),
    "the end token as padding (SigLIP)": WordTokenizer(padding=1),
    "a class token at the end (CLIPS)": WordTokenizer(class_token=2),
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_texts_are_split_by_every_kind_of_tokenizer(tokenizer) -> None:
    longest = 7 - (tokenizer.class_token is not None)
    assert fits_context(tokenizer, 8, " ".join(["star"] * longest))
    assert not fits_context(tokenizer, 8, " ".join(["star"] * (longest + 1)))
    assert not fits_context(tokenizer, 8, " ".join(["star"] * 40))
    assert fits_context(tokenizer, 8, "")


def test_no_word_of_a_long_text_is_lost(loaded) -> None:
    text = f"A short sentence comes first. {' '.join(f'galaxy{number}' for number in range(200))}. The last one."
    pieces = split_for(loaded.tokenizer, loaded.context_length, text)
    assert len(pieces) > 1
    assert " ".join(pieces) == text
    assert all(fits_context(loaded.tokenizer, loaded.context_length, piece) for piece in pieces)


def test_texts_of_different_lengths_keep_their_own_pieces_in_every_batch_size(loaded) -> None:
    texts = ["a comet", "Every sentence has words of its own. " * 30, "", "A star. " * 60, "two galaxies"]
    together = embed_texts(loaded, texts, 3)
    for text, feature_d in zip(texts, together, strict=True):
        pieces = split_for(loaded.tokenizer, loaded.context_length, text)
        mean_d = sum(loaded.encode_texts([piece])[0].double().numpy() for piece in pieces)
        np.testing.assert_allclose(feature_d, mean_d / np.linalg.norm(mean_d), atol=1e-5)


def test_tiles_are_embedded_in_the_order_of_the_split_in_every_batch_size(loaded, tiles) -> None:
    whole = embed_open_tiles(loaded, tiles, 100)
    np.testing.assert_allclose(embed_open_tiles(loaded, tiles, 3), whole, atol=1e-6)
    for index in (0, 3, len(whole) - 1):
        levels = torch.from_numpy(tiles.read_tiles([index], loaded.image_size)[0])[None, None]
        np.testing.assert_allclose(loaded.encode_images(levels)[0].numpy(), whole[index], atol=1e-6)
    assert np.abs(whole[0] - whole[-1]).max() > 1e-3


def test_the_first_feature_that_is_not_finite_is_named_and_no_other(loaded) -> None:
    texts = ["a comet", "a spiral galaxy", "a pulsar"]
    (token,) = set(loaded.tokenizer([texts[1]])[0].tolist()) & set(loaded.tokenizer(["spiral"])[0, 1:2].tolist())
    with torch.no_grad():
        loaded.model.token_embedding.weight[token] = torch.nan
    with pytest.raises(TrainingError, match="text 'a spiral galaxy'"):
        embed_texts(loaded, texts, 1)
