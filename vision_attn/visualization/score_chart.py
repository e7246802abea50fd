"""Bar chart of explanation scores: one panel per metric, one bar per explainer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OWN, OTHER, CONTROL = "#c44e52", "#4c72b0", "#b0b7c3"
WIDTH, ROW = 3.4, 0.28  # inches
COLUMNS = 3
LEGEND = "bar: mean   dot: median   line: quartiles\nred: the model's own maps   gray: controls"

Summaries = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By explainer, then by metric: mean, median, quartiles and number of images."""


def chart(summaries: Summaries, better: Mapping[str, bool], colors: Mapping[str, str]) -> Figure:
    """Draw the chart: means as bars, medians as dots, quartiles as lines.

    Args:
        summaries: by explainer, then by metric.
        better: whether higher is better, by metric.
        colors: color of the bar, by explainer.
    """
    metrics = list(better)
    lines = -(-len(metrics) // COLUMNS)
    height = lines * (ROW * len(summaries) + 0.9)
    figure = Figure(figsize=(WIDTH * min(len(metrics), COLUMNS) + 1.2, height), dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, min(len(metrics), COLUMNS), squeeze=False, sharey=True)
    for axes, metric in zip(grid.flat, metrics, strict=False):
        panel(axes, metric, better[metric], summaries, colors)
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    figure.supxlabel(LEGEND, fontsize=8)
    figure.tight_layout()
    return figure


def panel(
    axes: Axes, metric: str, higher: bool, summaries: Summaries, colors: Mapping[str, str]
) -> None:
    """Draw the panel of one metric: a row per explainer, the first on top."""
    rows = np.arange(len(summaries))
    for row, (name, scores) in zip(rows, summaries.items(), strict=True):
        score = scores.get(metric)
        if score is None or score["images"] == 0:
            continue
        axes.barh(row, score["mean"], color=colors[name], height=0.7)
        axes.plot(score["quartiles"], [row, row], color="#333333", linewidth=1)
        axes.plot(score["median"], row, "o", color="#333333", markersize=3.5)
    axes.set_yticks(rows, [name.replace("_", " ") for name in summaries], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    arrow = "higher is better" if higher else "lower is better"
    axes.set_title(f"{metric.replace('_', ' ')} ({arrow})", fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
