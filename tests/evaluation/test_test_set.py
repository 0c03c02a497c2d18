import numpy as np
import pytest
from evaluation_samples import sample

from hubbleclip.core.errors import EvaluationError
from hubbleclip.evaluation import test_set as testset


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
    for one, caption in zip(made.samples, made.caption_t, strict=True):
        assert made.captions_c[caption] == one.captions[0]


def captions_of(made):
    return {one.proposal_id: made.captions_c[own] for one, own in zip(made.samples, made.caption_t, strict=True)}


def test_proposals_of_a_group_that_say_other_things_have_their_own_captions():
    second = sample(2, group=1, proposal_id="simulated:0", captions=["supernovae"])
    made = testset.make_test_set([sample(1, group=1, captions=["dusty galaxies"]), second, sample(3, group=2)])
    assert captions_of(made)["simulated:1"] == "dusty galaxies"
    assert captions_of(made)["simulated:0"] == "supernovae"
    assert (made.num_groups, len(made.captions_c)) == (2, 3)
    assert [one.proposal_id for one, group in zip(made.samples, made.group_t, strict=True) if group == 1] == [
        "simulated:2"
    ]


def test_proposals_of_a_group_that_say_nearly_the_same_have_the_caption_of_the_first():
    text = " ".join(f"word{number}" for number in range(40))
    second = sample(2, group=1, proposal_id="simulated:0", captions=[f"{text} more"])
    made = testset.make_test_set([sample(1, group=1, captions=[text]), second, sample(3, group=2)])
    assert captions_of(made)["simulated:1"] == captions_of(made)["simulated:0"] == f"{text} more"
    assert len(made.captions_c) == 2


@pytest.mark.parametrize("rows", [[], [sample(1), sample(2)], [sample(1, split="train"), sample(2, 1, "val")]])
def test_fewer_than_two_test_groups_are_refused_in_one_line(rows):
    with pytest.raises(EvaluationError, match=r"needs 2: raise splits\.test_share") as error:
        testset.make_test_set(rows)
    assert "\n" not in str(error.value)


def test_shuffled_partners_are_never_the_own_group_and_reach_all_others():
    group_t = np.arange(5000) % 5
    partner_t = testset.shuffled_captions(group_t, 0)
    assert (partner_t != group_t).all()
    assert len(set(zip(group_t.tolist(), partner_t.tolist(), strict=True))) == 20


def test_examples_are_of_different_groups_and_kinds():
    made = testset.make_test_set(samples())
    shown = testset.example_tiles(made, 4)
    assert len({made.group_t[tile] for tile in shown}) == 4
    assert len({made.samples[tile].target_class for tile in shown}) == 4
