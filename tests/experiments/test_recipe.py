"""The study of training settings: the halves of the training split are disjoint, and the page has the committed figures."""

import json
from pathlib import Path

from experiments.running import replace_tables
from experiments.study.recipe import COMPARED, FILE, NAME, half_of_train, table
from hubbleclip.core.records import SplitAssignment

ROOT = Path(__file__).parents[2]


def test_the_halves_share_no_training_group_and_have_the_same_val_and_test() -> None:
    plans = {
        f"{group}-{tile}": SplitAssignment(
            tile_id=f"{group}-{tile}",
            group_id=f"g{group}",
            split=("train", "train", "val", "test")[group % 4],
            reason=None,
        )
        for group in range(80)
        for tile in range(2)
    }
    halves = [half_of_train(plans, half) for half in (0, 1)]
    kept = [{plan.group_id for plan in half.values() if plan.split == "train"} for half in halves]
    assert not kept[0] & kept[1]
    assert kept[0] | kept[1] == {plan.group_id for plan in plans.values() if plan.split == "train"}
    assert min(map(len, kept)) > 10
    for half in halves:
        assert all(half[name].split == plan.split for name, plan in plans.items() if plan.split != "train")
        assert {half[name].split for name, plan in plans.items() if plan.split == "train"} == {"train", "excluded"}


def test_the_page_has_the_committed_figures() -> None:
    result = json.loads((ROOT / "docs/demo" / FILE).read_text(encoding="utf-8"))
    page = (ROOT / "experiments/study/README.md").read_text(encoding="utf-8")
    assert replace_tables(page, {NAME: table(result)}) == page
    assert {row["name"] for row in result["rows"]} == set(COMPARED)
