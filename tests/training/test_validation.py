import pytest
import torch
from squares_dataset import MODEL, TRAIN, make_dataset

from hubbleclip.dataset.loader import SplitTiles, open_split
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.training import validation
from hubbleclip.training.losses import get_loss
from hubbleclip.training.models.builder import load_model
from hubbleclip.training.validation import is_informative, top_share_matches, validate


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> SplitTiles:
    return open_split(read_dataset(make_dataset(tmp_path_factory.mktemp("datasets"), num_groups=20)), "val")


def test_equal_scores_earn_nothing() -> None:
    assert not top_share_matches(torch.zeros(20, 20), torch.eye(20, dtype=torch.bool)).any()


def test_accuracy_counts_the_best_own_column() -> None:
    own = torch.eye(20, dtype=torch.bool)
    scores = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    expected = []
    for row in range(20):
        ranked = scores[row].argsort(descending=True).tolist()
        expected.append(ranked.index(row) < 2)
    assert top_share_matches(scores, own).tolist() == expected


def test_a_large_val_is_compared_in_parts_of_bounded_size(tiles, monkeypatch) -> None:
    loaded, rows = load_model(MODEL, 1), []
    loss = get_loss(TRAIN.loss)

    def seen(*features):
        rows.append(len(features[0]))
        return loss.compute(*features)

    whole = validate(loaded, tiles, validation.Loss(compute=seen))
    monkeypatch.setattr(validation, "MAX_ROWS", 3)
    part = validate(loaded, tiles, validation.Loss(compute=seen))
    assert rows == [8, 3]
    assert part["val_accuracy_10"] == whole["val_accuracy_10"]
    assert part == validate(loaded, tiles, loss)


def test_a_val_of_one_caption_or_one_group_is_not_informative(tiles) -> None:
    one_caption = SplitTiles(place=tiles.place, rows=tiles.rows, spans=tiles.spans, group_n=tiles.group_n)
    one_caption.__dict__["captions"] = [["One text for all."]] * len(tiles.rows)
    one_group = SplitTiles(place=tiles.place, rows=tiles.rows, spans=tiles.spans, group_n=0 * tiles.group_n)
    assert is_informative(tiles)
    assert not is_informative(one_caption)
    assert not is_informative(one_group)
