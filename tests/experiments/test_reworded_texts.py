"""How much of a text may be new before it is no longer linked: the limit that docs/concepts.md names."""

import numpy as np
import pytest

from experiments.near_duplicates import ended, linked_share, reworded


@pytest.mark.parametrize(("change", "share"), [(reworded(6), 1), (reworded(25), 0), (ended(30), 1), (ended(75), 0)])
def test_spread_words_break_a_link_sooner_than_a_new_end(change, share):
    texts = np.random.default_rng(0).integers(0, 9000, (20, 150)).astype(str).tolist()
    assert linked_share(texts, change) == share
