"""A small version of `make coverage`: two cells of each table, and the page that it writes."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.coverage.__main__ import NUM_DIFFERENCES, NUM_RETRIEVALS, PAGE, all_cells, tables
from experiments.coverage.candidates import CANDIDATES
from experiments.coverage.trials import (
    JACKKNIFE,
    RESAMPLED,
    Coverage,
    cluster_coverage,
)
from experiments.running import replace_tables

TRIALS = 500
INTERVALS = Path(__file__).parents[2] / "docs/intervals.md"


def lowest(trials: int, share: float = 0.93) -> float:
    """Coverage that an interval with a true coverage of `share` falls below once in a thousand simulations."""
    return share - 3.1 * float(np.sqrt(share * (1 - share) / trials))


@pytest.mark.parametrize(("num_groups", "accuracy"), [(30, 0.95), (54, 0.95), (150, 0.99)])
def test_the_chosen_interval_holds_where_others_do_not(num_groups, accuracy) -> None:
    found = cluster_coverage(num_groups, accuracy, 0.5, 20, TRIALS)
    assert found.keys() == CANDIDATES.keys()
    assert found["chosen"].share >= lowest(TRIALS)
    assert found["chosen"].ratio <= 1.1
    assert found["expanded percentile"].share < 0.9
    assert found["Korn-Graubard"].ratio == 1


def test_every_table_has_its_place_on_the_page_and_the_committed_ones_keep_the_promise() -> None:
    one = Coverage(truth=0.5, share=0.957, num_trials=100, width=0.1, width_error=0.01, ratio=1.1)
    names = {
        "clusters": [*CANDIDATES],
        "difference": ["difference"],
        "retrieval": ["i2t_recall_at_1", "t2i_recall_at_1", RESAMPLED, JACKKNIFE],
        "zero-shot": ["kind_map"],
    }
    made = tables({key: dict.fromkeys(names[key[0]], one) for key in all_cells()})
    page = PAGE.read_text(encoding="utf-8")
    assert "95.7, 1.00 (95.7)" in replace_tables(page, made)
    with pytest.raises(ValueError, match="no place for the table 'other'"):
        replace_tables(page, {"other": ""})
    low, wide = (float(row[0].strip(" %")) for row in rows_of(page, "bounds", first=1))
    assert low >= 93 and wide <= 1.15
    shares = dict.fromkeys(("images", "texts", "low", "high"), 1.15) | {"independent": 1.25}
    for name, widest in (shares | {"image differences": 1.2, "text differences": 1.2}).items():
        cells = [re.match(r"([\d.]+), ([\d.]+|–)", cell) for cell in cells_of(page, name, first=1)]
        assert len(cells) >= 20
        assert min(float(cell[1]) for cell in cells) >= (93 if name in shares else 100 * lowest(NUM_DIFFERENCES))
        assert max(float(cell[2].replace("–", "0")) for cell in cells) <= widest, name
    lows, ratios = zip(*[(float(cell[0]), cell[2]) for cell in rows_of(page, "recall", first=1)], strict=True)
    widths, least = [float(ratio.partition(" ")[0]) for ratio in ratios], 100 * lowest(min(NUM_RETRIEVALS.values()))
    assert lows[0] >= least and widths[0] == min(width for low, width in zip(lows, widths, strict=True) if low >= least)
    for name in ("i2t", "t2i", "zero-shot"):
        cells = [float(cell.rpartition(":")[2].partition(",")[0]) for cell in cells_of(page, name, first=2)]
        assert len(cells) >= 48 and min(cells) >= least


def test_the_short_table_of_the_docs_is_part_of_the_whole_one() -> None:
    short = re.findall(r"^(\| [\w-]+ \| [\d.]+ \| \d+ of 20 \|)$", INTERVALS.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(short) == 3
    assert all(row in PAGE.read_text(encoding="utf-8") for row in short)


def cells_of(page: str, name: str, first: int) -> list[str]:
    """Cells of a table of the page without its header, from a column on."""
    return [cell for row in rows_of(page, name, first) for cell in row]


def rows_of(page: str, name: str, first: int) -> list[list[str]]:
    rows = page.partition(f"<!-- {name} -->")[2].partition("<!-- end of")[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in row.strip("| ").split("|")[first:]] for row in rows]
