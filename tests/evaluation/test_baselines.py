import math

import numpy as np
import pytest
from evaluation_samples import sample

from hubbleclip.evaluation.metrics import baselines
from hubbleclip.evaluation.metrics.vocabulary import PROMPTS, find_nearest, read_vocabulary


def slow_bm25(query, documents):
    split = [document.lower().split() for document in documents]
    mean = sum(map(len, split)) / len(split)
    scores = []
    for words in split:
        score = 0.0
        for term in set(query.lower().split()):
            num_with_term = sum(term in other for other in split)
            f = words.count(term)
            idf = math.log(1 + (len(split) - num_with_term + 0.5) / (num_with_term + 0.5))
            score += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * len(words) / mean))
        scores.append(score)
    return scores


def test_bm25_equals_the_formula_written_out():
    documents = ["spiral galaxy in a group of galaxies", "dust in a spiral spiral arm", "a comet", "galaxy"]
    queries = ["spiral galaxy", "comet tail", "nothing here matches"]
    expected = [slow_bm25(query, documents) for query in queries]
    np.testing.assert_allclose(baselines.bm25_scores(queries, documents), expected, atol=1e-8)
    assert expected[0][0] > 0


def test_bm25_accepts_empty_documents():
    assert baselines.bm25_scores(["galaxy", ""], ["", "galaxy"]).tolist()[1] == [0.0, 0.0]


def test_metadata_text_contains_nothing_of_the_proposal():
    one = sample(0, target_name="NGC 1300", instrument="ACS/WFC", filter=None, title="secret", target_class="KIND")
    assert baselines.metadata_text(one) == "NGC 1300 ACS/WFC"


def test_oracle_is_absent_without_classes():
    assert baselines.oracle_scores([sample(0, target_class=None)], np.array([0]), 1) is None


def test_words_of_a_query_count_once_whatever_their_case_and_marks():
    documents = ["NGC 1300, a barred spiral.", "M-31: spiral; spiral", "dust"]
    once, repeated = baselines.bm25_scores(["ngc spiral", "Spiral... NGC/NGC spiral!"], documents)
    np.testing.assert_array_equal(once, repeated)
    plain = ["ngc 1300 a barred spiral", "m 31 spiral spiral", "dust"]
    np.testing.assert_allclose(once, slow_bm25("ngc spiral", plain), atol=1e-8)


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
