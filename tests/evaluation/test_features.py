"""Features of a test set: which tiles are averaged."""

import numpy as np
from evaluation_samples import sample

from hubbleclip.core.vectors import unit
from hubbleclip.evaluation.features import mean_over_proposals
from hubbleclip.evaluation.test_set import make_test_set


def test_views_are_averaged_over_a_proposal_and_not_over_its_group() -> None:
    proposals = ("a", "a", "b", "c")
    test_set = make_test_set([sample(i, int(name == "c"), proposal_id=name) for i, name in enumerate(proposals)])
    of_tile = [one.proposal_id for one in test_set.samples]
    mean_td = mean_over_proposals(np.eye(4), test_set)
    same_tt = np.array([[a == b for b in of_tile] for a in of_tile])
    np.testing.assert_allclose(mean_td, unit(same_tt.astype(float)))
