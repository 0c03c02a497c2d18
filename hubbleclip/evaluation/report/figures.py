"""Draw the plots of the report as SVG; the same metrics always give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hubbleclip.core.records import Metric
from hubbleclip.evaluation.metrics.retrieval import PERCENTS, Floats
from hubbleclip.evaluation.names import SCORERS

# Colour, line style and marker of each scorer. The class oracle and chance are references, and have no marker.
STYLES: dict[str, tuple[str, str, str]] = {
    "oracle": ("#8a8d93", "--", ""),
    "fine_tuned": ("#0b5cad", "-", "o"),
    "bm25": ("#8f5a9c", "-", "^"),
    "other": ("#b3423c", "-", "v"),
    "base": ("#d9822b", "-", "s"),
    "shuffled": ("#3d8c64", "-", "D"),
    "random": ("#1a1a1a", ":", ""),
}
TITLES = {"i2t": "Image to text", "t2i": "Text to image"}
AXES = {
    "i2t": ("top k % of captions", "tiles whose caption is found (%)"),
    "t2i": ("top k % of tiles", "captions that find one of their tiles (%)"),
}
# The hash salt makes the ids of SVG elements reproducible; without a salt the ids are random.
RC: Any = {
    "svg.hashsalt": "hubbleclip",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a8",
    "axes.labelcolor": "#33373d",
    "xtick.color": "#5b616a",
    "ytick.color": "#5b616a",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e7e9ec",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
# By default, matplotlib writes the date and its own version. They are omitted, so that the bytes are reproducible.
METADATA = {"Date": None, "Creator": None}


def svg_bytes(figure: Figure) -> bytes:
    """Render a figure as SVG to reproducible bytes, without a date and without the name of the program."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)  # attaches a canvas without pyplot, which would keep global state
    # The settings are needed here too: matplotlib reads the hash salt only when it writes the file.
    with mpl.rc_context(RC):
        figure.savefig(buffer, format="svg", metadata=METADATA, dpi=150, facecolor="white")
    return buffer.getvalue()


def curve(metrics: Sequence[Metric], model: str, direction: str) -> list[Metric]:
    """Select the points of a scorer's retrieval curve under the protocol `fair` (see `metrics.protocols`)."""
    names = [f"{direction}_accuracy_at_{percent}pct" for percent in PERCENTS]
    by_name = {metric.name: metric for metric in metrics if metric.protocol == "fair" and metric.model == model}
    return [by_name[name] for name in names if name in by_name]


def draw_curve(axes: Axes, model: str, points: Sequence[Metric]) -> None:
    """Draw a retrieval curve, with a band that shows the 95 % intervals."""
    color, line, marker = STYLES[model]
    label = SCORERS[model].name
    values = [100 * point.value for point in points]
    axes.plot(PERCENTS, values, line, color=color, marker=marker, markersize=3.5, linewidth=1.8, label=label)
    low = [100 * (point.low or 0.0) for point in points]
    high = [100 * (point.high or 0.0) for point in points]
    axes.fill_between(PERCENTS, low, high, color=color, alpha=0.12 if marker else 0.06, linewidth=0)


def retrieval_figure(metrics: Sequence[Metric]) -> Figure:
    """Plot accuracy against the cutoff in per cent, with one panel per direction and one curve per scorer."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(10, 5.2), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, direction in zip(panels, TITLES, strict=True):
            for model in STYLES:
                points = curve(metrics, model, direction)
                if points:
                    draw_curve(axes, model, points)
            axes.set(title=TITLES[direction], xlabel=AXES[direction][0], ylabel=AXES[direction][1])
            axes.set(xlim=(0, 101), ylim=(0, 101), xticks=range(0, 101, 20), yticks=range(0, 101, 20), aspect="equal")
        panels[0].legend(loc="lower right")
    return figure


def similarity_figure(pairs: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """Plot histograms of cosine similarities of true and mismatched pairs: one panel per model, with shared axes."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(pairs), sharex=True, sharey=True))
        values = np.concatenate([part for both in pairs.values() for part in both])
        # The bins cover a little more than the range, because equal similarities would give bins of zero width.
        bins = np.linspace(float(values.min()) - 1e-3, float(values.max()) + 1e-3, 41)
        for axes, (model, (true_t, mismatched_t)) in zip(panels, pairs.items(), strict=True):
            axes.hist(mismatched_t, bins, color="#c3c7cd", label="mismatched pairs")
            axes.hist(true_t, bins, color=STYLES[model][0], alpha=0.6, label="true pairs")
            axes.set(title=SCORERS[model].name.capitalize(), xlabel="cosine similarity")
        panels[0].set(ylabel="tiles")
        panels[0].legend(loc="upper left")
    return figure
