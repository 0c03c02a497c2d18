import numpy as np
import pytest
from evaluation_samples import sample

from hubbleclip.core.errors import EvaluationError
from hubbleclip.evaluation import test_set as test_set_module


def captions_of(test_set):
    return {
        one.proposal_id: test_set.captions_c[own] for one, own in zip(test_set.samples, test_set.caption_t, strict=True)
    }


def test_the_caption_of_a_proposal_is_that_of_its_first_tile():
    rows = [sample(index, captions=[f"caption {index}"]) for index in range(5)]
    first = min(rows, key=lambda one: one.tile_id)
    test_set = test_set_module.make_test_set([*rows, sample(9, group=1)])
    assert captions_of(test_set)["simulated:0"] == first.captions[0]


def test_proposals_of_a_group_with_different_captions_have_their_own_captions():
    second = sample(2, group=1, proposal_id="simulated:0", captions=["supernovae"])
    test_set = test_set_module.make_test_set(
        [sample(1, group=1, captions=["dusty galaxies"]), second, sample(3, group=2)]
    )
    assert captions_of(test_set)["simulated:1"] == "dusty galaxies"
    assert captions_of(test_set)["simulated:0"] == "supernovae"
    assert (test_set.num_groups, len(test_set.captions_c)) == (2, 3)
    assert [one.proposal_id for one, group in zip(test_set.samples, test_set.group_t, strict=True) if group == 1] == [
        "simulated:2"
    ]


def test_groups_with_equal_captions_are_right_answers_to_each_other():
    rows = [sample(1, group=1, captions=["dusty  galaxies"]), sample(2, group=2, captions=["dusty galaxies"])]
    rows += [sample(3, group=3), sample(4, group=4), sample(5, 2, proposal_id="simulated:9", captions=["another aim"])]
    test_set = test_set_module.make_test_set(rows)
    assert (test_set.num_groups, len(test_set.captions_c)) == (3, 4)
    groups = dict(zip((one.proposal_id for one in test_set.samples), test_set.group_t, strict=True))
    assert groups["simulated:9"] == groups["simulated:2"] == groups["simulated:1"]
    assert captions_of(test_set)["simulated:1"] == captions_of(test_set)["simulated:2"]
    caption_of = {one.proposal_id: own for one, own in zip(test_set.samples, test_set.caption_t, strict=True)}
    assert caption_of["simulated:1"] == caption_of["simulated:2"] != caption_of["simulated:3"]


def test_nearly_equal_captions_of_two_groups_stay_two_captions():
    text = " ".join(f"word{number}" for number in range(40))
    rows = [sample(1, group=1, captions=[text]), sample(2, group=2, captions=[f"{text} more"])]
    test_set = test_set_module.make_test_set(rows)
    assert (test_set.num_groups, len(test_set.captions_c)) == (2, 2)


@pytest.mark.parametrize("rows", [[], [sample(1), sample(2)], [sample(1, split="train"), sample(2, 1, "val")]])
def test_fewer_than_two_test_groups_raise_an_error_of_one_line(rows):
    with pytest.raises(EvaluationError, match=r"needs 2: raise splits\.test_share") as error:
        test_set_module.make_test_set(rows)
    assert "\n" not in str(error.value)


def test_shuffled_partners_are_never_the_own_group_and_reach_all_others():
    group_t = np.arange(5000) % 5
    scores_tc = np.tile(np.arange(5.0), (5000, 1))
    own_t, partner_t = test_set_module.pair_similarities(scores_tc, group_t, 0)
    np.testing.assert_array_equal(own_t, group_t)
    assert (partner_t != group_t).all()
    assert len(set(zip(group_t.tolist(), partner_t.tolist(), strict=True))) == 20


@pytest.mark.parametrize(("num_changed", "num_captions"), [(6, 2), (7, 3)])
def test_captions_of_a_group_are_one_from_a_similarity_of_70_percent_on(num_changed, num_captions):
    """Of 36 runs of five words, the last few differ: 30 of 42 are common for six changed words, 29 of 43 for seven."""
    words = [f"word{number}" for number in range(40)]
    changed = [*words[:-num_changed], *(f"other{number}" for number in range(num_changed))]
    rows = [
        sample(1, group=1, captions=[" ".join(words)]),
        sample(2, group=1, proposal_id="simulated:0", captions=[" ".join(changed)]),
        sample(3, group=2),
    ]
    test_set = test_set_module.make_test_set(rows)
    captions, same = captions_of(test_set), num_captions == 2
    assert (len(test_set.captions_c), captions["simulated:0"]) == (num_captions, " ".join(changed))
    assert captions["simulated:1"] == " ".join(changed if same else words)


def test_examples_are_the_first_tiles_of_their_groups_and_rare_classes_come_before_second_ones():
    classes = ("GALAXY", "GALAXY", "COMET", "GALAXY", "NEBULA")
    rows = [sample(index, group=index % 5, target_class=classes[index % 5]) for index in range(20)]
    test_set = test_set_module.make_test_set(rows)
    shown = test_set_module.example_tiles(test_set, 4)
    first = {int(group): test_set.group_t.tolist().index(group) for group in range(5)}
    assert set(shown) <= set(first.values())
    shown_classes = [test_set.samples[tile].target_class for tile in shown]
    assert sorted(shown_classes[:3]) == ["COMET", "GALAXY", "NEBULA"] and shown_classes[3] == "GALAXY"
    assert shown[0] == min(first.values())


def test_the_only_tile_of_a_class_is_an_example_wherever_it_is():
    def made(rare):
        rows = [sample(i, group=i, target_class="COMET" if i == rare else "GALAXY") for i in range(6)]
        return test_set_module.make_test_set(rows)

    for rare in range(6):
        shown = [made(rare).samples[tile].target_class for tile in test_set_module.example_tiles(made(rare), 2)]
        assert sorted(shown) == ["COMET", "GALAXY"]
