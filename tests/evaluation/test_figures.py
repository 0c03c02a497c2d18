"""What the plots of the report show: values in per cent, bands, axes, names of the scorers, and histograms."""

import matplotlib.colors
import numpy as np
import pytest
from evaluation_samples import metric
from matplotlib.axes import Axes

from hubbleclip.evaluation.metrics.retrieval import PERCENTS
from hubbleclip.evaluation.report import figures

NAMES = {"oracle": "class oracle", "fine_tuned": "this model", "bm25": "text search (BM25)", "other": "other run"}
NAMES |= {"base": "base model", "shuffled": "control (shuffled pairs)", "random": "chance"}
"""Names of the scorers in the order of the legend."""


def accuracy(direction: str, percent: int, model: str) -> float:
    """Unequal in every direction, percentage and model."""
    return (percent / 100) ** (0.3 + 0.1 * [*NAMES].index(model)) * (0.8 if direction == "i2t" else 1)


@pytest.fixture(scope="module")
def panels() -> list[Axes]:
    metrics = [
        metric(f"{direction}_accuracy_at_{percent}pct", value, value / 2, (1 + value) / 2, model=model)
        for model in reversed(NAMES)
        for direction in ("t2i", "i2t")
        for percent in reversed(PERCENTS)
        if (value := accuracy(direction, percent, model))
    ]
    others = [metric(f"{way}_accuracy_at_10pct", 0.0, model="base", protocol="paperclip") for way in ("i2t", "t2i")]
    return figures.retrieval_figure([*metrics, *others]).axes


def test_curves_and_bands_are_those_of_each_scorer_in_per_cent(panels: list[Axes]) -> None:
    for axes, direction in zip(panels, ("i2t", "t2i"), strict=True):
        assert axes.get_xlim() == axes.get_ylim() == (0, 101)
        assert [line.get_label() for line in axes.lines] == [*NAMES.values()]
        bands = dict(zip([line.get_label() for line in axes.lines], axes.collections, strict=True))
        for model, name in NAMES.items():
            (line,) = (line for line in axes.lines if line.get_label() == name)
            expected = np.array([100 * accuracy(direction, percent, model) for percent in PERCENTS])
            assert line.get_xdata() == pytest.approx(PERCENTS)
            assert line.get_ydata() == pytest.approx(expected)
            corners = {tuple(np.round(xy, 6)) for xy in bands[name].get_paths()[0].vertices}
            ends = [*zip(PERCENTS, expected / 2, strict=True), *zip(PERCENTS, 50 + expected / 2, strict=True)]
            assert {tuple(np.round(np.array(xy, dtype=float), 6)) for xy in ends} <= corners
            colour = matplotlib.colors.to_rgb(line.get_color())
            assert tuple(bands[name].get_facecolor()[0][:3]) == pytest.approx(colour)


def test_histograms_count_true_and_mismatched_pairs_of_each_model() -> None:
    rng = np.random.default_rng(0)
    pairs = {
        "base": (rng.normal(0.2, 0.1, 90), rng.normal(0, 0.1, 90)),
        "fine_tuned": (rng.normal(0.6, 0.1, 90), rng.normal(-0.2, 0.1, 90)),
    }
    axes_of = figures.similarity_figure(pairs).axes
    assert [axes.get_title(loc="left") for axes in axes_of] == ["Base model", "This model"]
    assert [axes.get_xlabel() for axes in axes_of] == ["cosine similarity"] * 2
    assert axes_of[0].get_ylabel() == "tiles"
    assert (axes_of[0].get_xlim(), axes_of[0].get_ylim()) == (axes_of[1].get_xlim(), axes_of[1].get_ylim())
    for axes, (true_t, mismatched_t) in zip(axes_of, pairs.values(), strict=True):
        bars = {part[0].get_label(): part.patches for part in axes.containers}
        assert set(bars) == {"true pairs", "mismatched pairs"}
        for label, values in (("true pairs", true_t), ("mismatched pairs", mismatched_t)):
            lefts, heights = ([getattr(bar, f"get_{what}")() for bar in bars[label]] for what in ("x", "height"))
            assert sum(heights) == 90
            centres = np.array(lefts) + bars[label][0].get_width() / 2
            assert np.average(centres, weights=heights) == pytest.approx(values.mean(), abs=0.02)
    colours = {tuple(part[0].get_facecolor()) for axes in axes_of for part in axes.containers}
    assert len(colours) == 3  # grey for mismatched pairs, and one per model
