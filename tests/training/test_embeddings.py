"""Features of tiles and texts: long texts in pieces, any tokenizer, no feature that is not a number; and validation."""

import numpy as np
import pytest
import torch
from squares_dataset import MODEL, TRAIN

from hubbleclip.core.errors import TrainingError
from hubbleclip.dataset.reader import SplitTiles
from hubbleclip.training import validation
from hubbleclip.training.embeddings import embed_open_tiles, embed_texts, fits_context, split_for
from hubbleclip.training.losses import get_loss
from hubbleclip.training.models.builder import LoadedModel, load_model, set_initial_scale
from hubbleclip.training.validation import is_informative, num_ahead, validate


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


def test_the_first_feature_that_is_not_finite_is_named_and_no_other(loaded, tiles) -> None:
    texts = ["a comet", "a spiral galaxy", "a pulsar"]
    (token,) = set(loaded.tokenizer([texts[1]])[0].tolist()) & set(loaded.tokenizer(["spiral"])[0, 1:2].tolist())
    with torch.no_grad():
        loaded.model.token_embedding.weight[token] = torch.nan
        loaded.model.visual.proj[0, 0] = torch.nan
    with pytest.raises(TrainingError, match="text 'a spiral galaxy'"):
        embed_texts(loaded, texts, 1)
    with pytest.raises(TrainingError, match=f"tile {tiles.rows['tile_id'][0]} "):
        embed_open_tiles(loaded, tiles, 3)


def test_a_large_val_is_compared_in_parts_of_bounded_size(tiles, monkeypatch) -> None:
    loaded, groups = load_model(MODEL, 1), []
    loss = get_loss(TRAIN.loss)

    def seen(pairs):
        groups.append(pairs.group_ids.tolist())
        return loss.compute(pairs)

    whole = validate(loaded, tiles, validation.Loss(compute=seen))
    monkeypatch.setattr(validation, "MAX_ROWS", 3)
    part = validate(loaded, tiles, validation.Loss(compute=seen))
    assert groups == [tiles.group_n.tolist(), tiles.group_n[[0, 3, 7]].tolist()]  # evenly spaced
    assert part["val_accuracy_10"] == whole["val_accuracy_10"]
    assert part == validate(loaded, tiles, loss)


def test_a_val_of_one_caption_or_one_group_is_not_informative(tiles) -> None:
    one_caption = SplitTiles(place=tiles.place, rows=tiles.rows, spans=tiles.spans, group_n=tiles.group_n)
    one_caption.__dict__["captions"] = [["One text for all.", f"Title {row}"] for row in range(len(tiles.rows))]
    one_group = SplitTiles(place=tiles.place, rows=tiles.rows, spans=tiles.spans, group_n=0 * tiles.group_n)
    assert is_informative(tiles)
    assert not is_informative(one_caption)
    assert not is_informative(one_group)


@pytest.mark.parametrize(
    ("group_of", "caption_of", "looks_like"),
    [
        (lambda tile: tile // 2, lambda tile: tile, lambda tile: tile ^ 1),
        (lambda tile: tile, lambda tile: max(tile, 1), lambda tile: max(tile, 1)),
    ],
    ids=["the caption of another tile of the group", "a caption of two groups"],
)
def test_each_caption_of_its_group_is_a_right_answer_to_a_tile(
    group_of, caption_of, looks_like, tiles, monkeypatch
) -> None:
    num = len(tiles.rows) // 2 * 2
    group_n = np.array([group_of(tile) for tile in range(num)])
    some = SplitTiles(place=tiles.place, rows=tiles.rows[:num], spans=tiles.spans[:num], group_n=group_n)
    some.__dict__["captions"] = [[f"{caption_of(tile)}"] for tile in range(num)]
    monkeypatch.setattr(
        validation, "embed_texts", lambda loaded, texts, size: np.eye(num)[[int(text) for text in texts]]
    )
    images = np.eye(num)[[looks_like(tile) for tile in range(num)]]
    monkeypatch.setattr(validation, "embed_open_tiles", lambda *_: images)
    assert validate(load_model(MODEL, 1), some, get_loss(TRAIN.loss))["val_accuracy_10"] == 1


@pytest.mark.parametrize("name", ["multi_positive", "siglip"])
def test_the_loss_on_val_is_that_of_training_at_the_scale_and_bias_of_the_model(tiles, name: str) -> None:
    loaded, loss = load_model(MODEL, 1), get_loss(name)
    set_initial_scale(loaded, 5, loss)
    with torch.no_grad():
        loaded.model.logit_scale.fill_(np.log(10))
    image_nd = torch.from_numpy(embed_open_tiles(loaded, tiles, 3))
    text_nd = torch.from_numpy(embed_texts(loaded, [captions[0] for captions in tiles.captions], 3))
    logits_nn = 10 * image_nd @ text_nd.T
    if name == "siglip":
        logits_nn += -np.log(4)
        signs_nn = 2 * torch.eye(len(logits_nn)) - 1
        expected = torch.log1p(torch.exp(-signs_nn * logits_nn)).sum() / len(logits_nn)
    else:
        same_nn = (tiles.group_n[:, None] == tiles.group_n[None]).astype(float)
        targets_nn = torch.from_numpy(same_nn / same_nn.sum(axis=1, keepdims=True))
        expected = -sum((targets_nn * one.log_softmax(1)).sum(1).mean() for one in (logits_nn, logits_nn.T)) / 2
    assert validate(loaded, tiles, loss)["val_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_best_of_several_right_columns_counts_and_they_do_not_compete() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7, *[0.1] * 17], [0.9, 0.8, 0.7, *[0.1] * 17]])
    own = torch.zeros(2, 20, dtype=torch.bool)
    own[0, [1, 2]], own[1, [0, 2, 3]] = True, True
    assert num_ahead(scores, own).tolist() == [1, 0]
    own[0, 1] = False
    assert num_ahead(scores, own).tolist() == [2, 0]


def test_recalls_count_the_captions_of_tiles_and_the_tiles_of_captions(tiles, monkeypatch) -> None:
    """The k-th tile is nearest to the k-th of the captions that are sorted by name, and each tile has its own group."""
    num = len(tiles.rows)
    mixed = SplitTiles(place=tiles.place, rows=tiles.rows, spans=tiles.spans, group_n=np.arange(num))
    own_n = np.arange(num) * 3 % num  # the caption of each tile
    mixed.__dict__["captions"] = [[f"caption {own:03}"] for own in own_n.tolist()]
    near_nc = -np.abs(np.arange(num)[:, None] - np.arange(num) + 0.1)
    monkeypatch.setattr(validation, "embed_open_tiles", lambda *_: near_nc)
    monkeypatch.setattr(validation, "embed_texts", lambda _, texts, __: np.eye(num)[: len(texts)])
    monkeypatch.setattr(validation, "TOP_SHARE", 3.7 / num)
    monkeypatch.setattr(validation, "MAX_ROWS", 3)
    found = validate(load_model(MODEL, 1), mixed, get_loss(TRAIN.loss))
    ranks = {"i2t": near_nc.argsort(1)[:, ::-1].argsort(1)[np.arange(num), own_n]}
    ranks["t2i"] = near_nc.argsort(0)[::-1].argsort(0)[np.arange(num), own_n]
    expected = {f"val_{name}_recall_at_{k}": (of < k).mean() for name, of in ranks.items() for k in (1, 5, 10)}
    expected["val_accuracy_10"] = (ranks["i2t"] < 3).mean()
    assert expected["val_accuracy_10"] < (ranks["i2t"] < 4).mean()
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert 0 < expected["val_i2t_recall_at_1"] < expected["val_t2i_recall_at_5"] < 1
    mixed.__dict__["captions"] = [["b"], *[["a"]] * (num - 1)]  # the share of two captions is less than one
    assert validate(load_model(MODEL, 1), mixed, get_loss(TRAIN.loss))["val_accuracy_10"] == 0
