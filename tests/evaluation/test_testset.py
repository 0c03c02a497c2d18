import numpy as np
import pytest
from evaluation_samples import sample

from hubbleclip.errors import EvaluationError
from hubbleclip.evaluation import testset


def samples():
    return [sample(index, group=index // 3) for index in range(30)] + [sample(99, group=50, split="train")]


def test_only_test_tiles_take_part_in_order_of_their_ids():
    made = testset.make_test_set(samples())
    ids = [one.tile_id for one in made.samples]
    assert len(ids) == 30
    assert ids == sorted(ids)
    assert made.num_groups == 10


def test_each_tile_points_at_its_own_caption():
    made = testset.make_test_set(list(reversed(samples())))
    for one, group in zip(made.samples, made.group_t, strict=True):
        assert made.captions_g[group] == one.captions[0]


def test_a_group_of_two_proposals_has_the_caption_of_the_first():
    twins = [sample(1, group=1), sample(2, group=1, proposal_id="simulated:0", captions=["the first"])]
    made = testset.make_test_set([*twins, sample(3, group=2)])
    assert made.captions_g[0] == "the first"


@pytest.mark.parametrize("rows", [[], [sample(1), sample(2)], [sample(1, split="train"), sample(2, 1, "val")]])
def test_fewer_than_two_test_groups_are_refused_in_one_line(rows):
    with pytest.raises(EvaluationError, match=r"needs 2: raise splits\.test_share") as error:
        testset.make_test_set(rows)
    assert "\n" not in str(error.value)


def test_shuffled_partners_are_never_the_own_group_and_reach_all_others():
    group_t = np.arange(5000) % 5
    partner_t = testset.shuffled_partner(group_t, 0)
    assert (partner_t != group_t).all()
    assert len(set(zip(group_t.tolist(), partner_t.tolist(), strict=True))) == 20


def test_examples_are_of_different_groups_and_kinds():
    made = testset.make_test_set(samples())
    shown = testset.example_tiles(made, 4)
    assert len({made.group_t[tile] for tile in shown}) == 4
    assert len({made.samples[tile].target_class for tile in shown}) == 4
