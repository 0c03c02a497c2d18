import math

import numpy as np

from hubbleclip.evaluation.metrics import baselines


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


def test_words_of_a_query_count_once_whatever_their_case_and_marks():
    documents = ["NGC 1300, a barred spiral.", "M-31: spiral; spiral", "dust"]
    once, repeated = baselines.bm25_scores(["ngc spiral", "Spiral... NGC/NGC spiral!"], documents)
    np.testing.assert_array_equal(once, repeated)
    plain = ["ngc 1300 a barred spiral", "m 31 spiral spiral", "dust"]
    np.testing.assert_allclose(once, slow_bm25("ngc spiral", plain), atol=1e-8)
