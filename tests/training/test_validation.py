import torch

from hubbleclip.training.validation import top_share_accuracy


def test_equal_scores_earn_nothing() -> None:
    assert top_share_accuracy(torch.zeros(20, 20), torch.eye(20, dtype=torch.bool)) == 0


def test_accuracy_counts_the_best_own_column() -> None:
    own = torch.eye(20, dtype=torch.bool)
    scores = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    expected = 0
    for row in range(20):
        ranked = scores[row].argsort(descending=True).tolist()
        expected += ranked.index(row) < 2
    assert top_share_accuracy(scores, own) == expected / 20
