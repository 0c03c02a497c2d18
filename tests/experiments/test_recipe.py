"""The study of training settings: the halves of the training split are disjoint, and the page has the committed figures."""

import json
from pathlib import Path

from test_study import plan

from experiments.running import replace_tables
from experiments.study.recipe import COMPARED, FILE, NAME, half_of_train, table

ROOT = Path(__file__).parents[2]


def test_the_halves_share_no_training_group_and_have_the_same_val_and_test() -> None:
    plans = {
        f"{group}-{tile}": plan(f"{group}-{tile}", f"g{group}", ("train", "train", "val", "test")[group % 4])
        for group in range(80)
        for tile in range(2)
    }
    halves = [half_of_train(plans, half) for half in (0, 1)]
    kept = [{one.group_id for one in half.values() if one.split == "train"} for half in halves]
    assert not kept[0] & kept[1]
    assert kept[0] | kept[1] == {one.group_id for one in plans.values() if one.split == "train"}
    assert min(map(len, kept)) > 10
    for half in halves:
        assert all(half[name].split == one.split for name, one in plans.items() if one.split != "train")
        assert {half[name].split for name, one in plans.items() if one.split == "train"} == {"train", "excluded"}


def test_the_page_has_the_committed_figures() -> None:
    result = json.loads((ROOT / "docs/demo" / FILE).read_text(encoding="utf-8"))
    page = (ROOT / "experiments/study/README.md").read_text(encoding="utf-8")
    assert replace_tables(page, {NAME: table(result)}) == page
    assert {row["name"] for row in result["rows"]} == set(COMPARED)
