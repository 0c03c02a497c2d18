"""`make coverage`: measure the coverage of the intervals, and write the tables of README.md beside this file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from experiments.coverage.candidates import CANDIDATES
from experiments.coverage.trials import (
    JACKKNIFE,
    RESAMPLED,
    Coverage,
    cluster_coverage,
    difference_coverage,
    retrieval_coverage,
    zero_shot_coverage,
)
from experiments.running import markdown, update_page

log = logging.getLogger(__name__)
PAGE = Path(__file__).with_name("README.md")
GROUPS = (15, 30, 54, 150, 400)
ACCURACIES = (0.5, 0.82, 0.95, 0.99)
PAIRS = ((0.5, 0.45), (0.82, 0.8), (0.97, 0.97), (0.97, 0.92), (0.99, 0.97))
"""Accuracies of two scorers whose difference is measured."""
QUALITIES = (1.0, 2.0, 3.0)
MAX_TILES = 20
SHAPES = ((0.5, MAX_TILES), (0.5, 1), (0.2, MAX_TILES), (0.9, MAX_TILES), (0.02, MAX_TILES))
"""Intra-class correlations and largest numbers of tiles of a group."""
ENOUGH = 0.93
"""Coverage that an interval must have."""
OTHERS = ("Korn-Graubard", "Wilson, effective size")
"""Candidates with which the width of the chosen interval is compared."""
MAX_TILES_OF_RETRIEVAL = 5
CORRELATED = 0.2
"""Correlation of the cells in which coverage and width have bounds."""
NUM_SHARES, NUM_DIFFERENCES = 20_000, 2000
"""Number of simulated test sets of a cell."""
NUM_RETRIEVALS = {15: 400, 30: 400, 54: 400, 150: 300}
"""Number of simulated rankings by number of groups; these take the most time."""
LABELS = {
    "accuracy_at_10pct": "top 10 %",
    "recall_at_1": "R@1",
    "recall_at_5": "R@5",
    "median_rank": "median rank",
    "kind_map": "mean average precision",
    "kind_ndcg_at_10": "nDCG at 10",
    "kind_top1": "top-1",
    "kind_top5": "top-5",
}
Cell = Callable[[], Mapping[str, Coverage]]


def main() -> None:
    """Measure all cells on two processes and write the tables."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cells = all_cells()
    with ProcessPoolExecutor(2) as pool:
        results = dict(zip(cells, pool.map(measured, cells.values()), strict=True))
    update_page(PAGE, tables(results))
    log.info("wrote %s", PAGE)


def measured(cell: Cell) -> Mapping[str, Coverage]:
    """Measure one cell, in another process."""
    return cell()


def difference_cell(num_groups: int, pair: tuple[float, float], max_tiles: int) -> Mapping[str, Coverage]:
    """Measure one cell of the table of differences."""
    return {"difference": difference_coverage(num_groups, pair, max_tiles, NUM_DIFFERENCES)}


def all_cells() -> dict[tuple[object, ...], Cell]:
    """List the cells of all tables, those that take longest first."""
    cells: dict[tuple[object, ...], Cell] = {}
    for size, num_trials in reversed(NUM_RETRIEVALS.items()):
        for direction, accuracy in product(("i2t", "t2i"), ACCURACIES):
            args = (direction, size, accuracy, MAX_TILES_OF_RETRIEVAL, num_trials)
            cells["retrieval", direction, size, accuracy] = partial(retrieval_coverage, *args)
        for quality in QUALITIES:
            cells["zero-shot", size, quality] = partial(
                zero_shot_coverage, size, quality, MAX_TILES_OF_RETRIEVAL, num_trials
            )
    for size, accuracy in product(reversed(GROUPS), ACCURACIES):
        for correlation, max_tiles in SHAPES:
            cells["clusters", size, accuracy, correlation, max_tiles] = partial(
                cluster_coverage, size, accuracy, correlation, max_tiles, NUM_SHARES
            )
    for size, pair, max_tiles in product(reversed(GROUPS), PAIRS, (MAX_TILES, 1)):
        cells["difference", size, pair, max_tiles] = partial(difference_cell, size, pair, max_tiles)
    return cells


def percent(share: float) -> str:
    """Format a share with one decimal place, without its sign."""
    return f"{100 * share:.1f}"


def with_ratio(one: Coverage) -> str:
    """Format coverage and relative width."""
    return f"{percent(one.share)}, {one.ratio:.2f}"


def narrower(found: Mapping[str, Coverage]) -> Coverage | None:
    """Return the narrower one of the others that cover enough; None if neither does."""
    covering = [found[name] for name in OTHERS if found[name].share >= ENOUGH]
    return min(covering, key=lambda one: one.width, default=None)


def beside_others(found: Mapping[str, Coverage]) -> str:
    """Format coverage and relative width of the chosen interval, beside the coverage of Korn and Graubard's."""
    other, chosen = narrower(found), found["chosen"]
    width = f"{chosen.width / other.width:.2f}" if other else "–"
    return f"{percent(chosen.share)}, {width} ({percent(found['Korn-Graubard'].share)})"


def bounds_table(results: Mapping[tuple[object, ...], Mapping[str, Coverage]]) -> str:
    """Name the cells of correlated tiles with the lowest coverage and the widest interval, with standard errors."""
    shares, widths = [], []
    correlated = [shape for shape in SHAPES if shape[0] >= CORRELATED]
    for size, accuracy, (correlation, max_tiles) in product(GROUPS, ACCURACIES, correlated):
        found = results["clusters", size, accuracy, correlation, max_tiles]
        chosen, other = found["chosen"], narrower(found)
        cell = [str(size), f"{100 * accuracy:.0f} %", str(correlation), str(max_tiles)]
        error = np.sqrt(chosen.share * (1 - chosen.share) / chosen.num_trials)
        shares.append((chosen.share, [f"{100 * chosen.share:.2f} %", f"{100 * error:.2f}", *cell]))
        if other:
            ratio = chosen.width / other.width
            error = ratio * np.hypot(chosen.width_error / chosen.width, other.width_error / other.width)
            widths.append((ratio, [f"{ratio:.3f}", f"{error:.3f}", *cell]))
    rows = [["lowest coverage", *min(shares)[1]], ["widest", *max(widths)[1]]]
    return markdown(["", "value", "standard error", "groups", "true share", "correlation", "most tiles"], rows)


def tables(results: Mapping[tuple[object, ...], Mapping[str, Coverage]]) -> dict[str, str]:
    """Make the tables of the page."""
    header = ["groups", *(f"true {100 * accuracy:.0f} %" for accuracy in ACCURACIES)]
    made = {"bounds": bounds_table(results), "candidates": candidates_table(results), "recall": recall_table(results)}
    for name, shape in zip(("images", "texts", "low", "high", "independent"), SHAPES, strict=True):
        rows = [
            [str(size), *(beside_others(results["clusters", size, accuracy, *shape]) for accuracy in ACCURACIES)]
            for size in GROUPS
        ]
        made[name] = markdown(header, rows)
    pairs = [f"{100 * one:.0f} and {100 * two:.0f} %" for one, two in PAIRS]
    for name, max_tiles in (("image differences", MAX_TILES), ("text differences", 1)):
        rows = [
            [str(size), *(with_ratio(results["difference", size, pair, max_tiles]["difference"]) for pair in PAIRS)]
            for size in GROUPS
        ]
        made[name] = markdown(["groups", *pairs], rows)
    for direction in ("i2t", "t2i"):
        columns: dict[str, tuple[object, ...]] = {
            f"{100 * accuracy:.0f} %": ("retrieval", direction, accuracy) for accuracy in ACCURACIES
        }
        made[direction] = metric_table(results, columns, "true top 10 %")
    signals = {f"{quality:.0f} sigma": ("zero-shot", quality) for quality in QUALITIES}
    made["zero-shot"] = metric_table(results, signals, "class signal")
    return made


def candidates_table(results: Mapping[tuple[object, ...], Mapping[str, Coverage]]) -> str:
    """List the lowest coverage and the relative widths of every candidate over image to text."""
    cells = [results["clusters", size, accuracy, *SHAPES[0]] for size, accuracy in product(GROUPS, ACCURACIES)]
    rows = []
    for name in CANDIDATES:
        shares, ratios = ([getattr(found[name], part) for found in cells] for part in ("share", "ratio"))
        num_low = sum(share < ENOUGH for share in shares)
        rows.append(
            [name, percent(min(shares)), f"{num_low} of {len(cells)}", f"{min(ratios):.2f} to {max(ratios):.2f}"]
        )
    return markdown(["interval", "lowest coverage, %", "cells below 93 %", "mean width / Korn-Graubard's"], rows)


def recall_table(results: Mapping[tuple[object, ...], Mapping[str, Coverage]]) -> str:
    """List the lowest coverage of each interval of the recall at 1, and its widths between 10 and 90 %."""
    rows = []
    for name, metric in (("candidates fixed (chosen)", None), (RESAMPLED, RESAMPLED), (JACKKNIFE, JACKKNIFE)):
        cells = [
            found[metric or f"{direction}_recall_at_1"]
            for direction, size, accuracy in product(("i2t", "t2i"), NUM_RETRIEVALS, ACCURACIES)
            for found in [results["retrieval", direction, size, accuracy]]
        ]
        num_low = sum(one.share < ENOUGH for one in cells)
        ratios = [one.ratio or 0.0 for one in cells if 0.1 <= one.truth <= 0.9]
        widths = f"{np.mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lowest = percent(min(one.share for one in cells))
        rows.append([name, lowest, f"{num_low} of {len(cells)}", widths])
    return markdown(["interval of R@1", "lowest coverage, %", "cells below 93 %", "mean width / ideal"], rows)


def metric_table(
    results: Mapping[tuple[object, ...], Mapping[str, Coverage]], columns: Mapping[str, tuple[object, ...]], label: str
) -> str:
    """Make a table with one row per size and metric; each cell has the true value and the coverage."""
    rows = []
    for size in NUM_RETRIEVALS:
        found = [results[*key[:-1], size, key[-1]] for key in columns.values()]
        for name in filter(lambda name: name not in {RESAMPLED, JACKKNIFE}, found[0]):
            short = LABELS[name.removeprefix("i2t_").removeprefix("t2i_")]
            rows.append([str(size), short, *(retrieval_cell(name, one[name]) for one in found)])
    return markdown(["groups", "metric", *(f"{label} {name}" for name in columns)], rows)


def retrieval_cell(name: str, one: Coverage) -> str:
    """Format true value and coverage, and of the recall at 1 the width relative to the ideal one."""
    covered = with_ratio(one) if name.endswith("recall_at_1") else percent(one.share)
    return f"{truth(name, one)}: {covered}"


def truth(name: str, one: Coverage) -> str:
    """Format the true value of a metric."""
    return f"{one.truth:.0f}" if "rank" in name else f"{percent(one.truth)} %"


if __name__ == "__main__":
    main()
