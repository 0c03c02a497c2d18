import numpy as np
import pytest

from hubbleclip.evaluation.metrics.vocabulary import PROMPTS, find_nearest, read_vocabulary


def test_the_vocabulary_is_large_and_without_repeats():
    vocabulary = read_vocabulary()
    sizes = {name: len(phrases) for name, phrases in vocabulary.items()}
    assert sizes == {"object_classes": 80, "science_hypotheses": 60, "queries": 12} and sizes.keys() == PROMPTS.keys()
    for phrases in vocabulary.values():
        assert len(set(phrases)) == len(phrases)


def test_nearest_sorts_by_similarity_and_keeps_order_in_ties():
    feat_id = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    found = find_nearest(np.array([[1.0, 0.0]]), feat_id, 3)[0]
    assert [match.index for match in found] == [1, 2, 0]
    assert found[0].score == pytest.approx(1.0)
