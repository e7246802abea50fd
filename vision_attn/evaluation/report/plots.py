"""Plot training curves and the calibration plot as SVG in the colors of the page."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vision_attn.core.percent import percent
from vision_attn.evaluation.report.curves import Curves
from vision_attn.evaluation.report.map_quality import MapQuality
from vision_attn.evaluation.report.predictions import Bin
from vision_attn.evaluation.results import score_chart_of

# Placeholder colors, replaced by CSS variables of the page, which has a light and a dark mode.
INK, FAINT, TRAIN, VAL = "#010203", "#010204", "#010205", "#010206"
CSS_VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    TRAIN: "--second",
    VAL: "--accent",
    "#333333": "--ink",
}
STYLE: Any = {  # matplotlib types each key separately
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def curves_plot(curves: Curves) -> str:
    """Plot loss and accuracy per epoch for training and validation, and mark the kept epoch."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": "curves"}):
        figure = Figure(figsize=(7.4, 2.7), layout="constrained")
        panels = figure.subplots(1, 2)
        accuracy = curves.monitored.removeprefix("val/")
        for axes, score in zip(panels, ("loss", accuracy), strict=True):
            plot_score(axes, score, curves)
        return svg(figure)


def plot_score(axes: Axes, score: str, curves: Curves) -> None:
    """Plot one score per epoch."""
    for stage, color, label in (("train", TRAIN, "training"), ("val", VAL, "validation")):
        series: Mapping[int, float] = curves.values.get(f"{stage}/{score}", {})
        epochs = sorted(series)
        marker = "o" if len(epochs) < 2 else None
        axes.plot(epochs, [series[k] for k in epochs], color=color, label=label, marker=marker)
    if curves.best is not None:
        axes.axvline(curves.best, color=INK, linewidth=1, linestyle=":", label="kept")
    title = score.replace("_", " ")
    axes.set(xlabel="epoch", title=title, ylim=(0, None) if score == "loss" else (0, 1))
    axes.set_xlim(*((1, curves.epochs) if curves.epochs > 1 else (0.5, 1.5)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend()


def calibration_plot(bins: Sequence[Bin]) -> str:
    """Calibration plot (reliability diagram): accuracy by confidence; larger dots, more images."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": "calibration"}):
        figure = Figure(figsize=(3.6, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
        confidence, accuracy = [b.confidence for b in bins], [b.accuracy for b in bins]
        most = max(b.images for b in bins)
        sizes = [12 + 120 * b.images / most for b in bins]
        axes.plot(confidence, accuracy, color=VAL, linewidth=1)
        axes.scatter(confidence, accuracy, s=sizes, color=VAL, clip_on=False, zorder=3)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set(xlabel="confidence", ylabel="accuracy")
        return svg(figure)


def acceptance_plot(coverage: Sequence[float], accuracy: Sequence[float]) -> str:
    """Selective accuracy: share of right answers by share of images answered, most sure first."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": "acceptance"}):
        figure = Figure(figsize=(3.6, 2.6), layout="constrained")
        axes = figure.subplots()
        marker = "o" if len(coverage) < 2 else None
        axes.plot(coverage, accuracy, color=VAL, linewidth=1.5, marker=marker)
        axes.set(xlim=(0, 1), ylim=(min(0.5, *accuracy), 1.005))
        axes.set(xlabel="share of images answered", ylabel="share of answers right")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
        return svg(figure)


def map_chart(quality: MapQuality) -> str:
    """Bar chart of the scores of heatmaps, as `evaluation.png` has them."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": "maps", "axes.grid": False}):
        return svg(score_chart_of(quality.scores, quality.higher_is_better))


def svg(figure: Figure) -> str:
    """An inline SVG element of a figure: transparent, in the colors of the page."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", text)  # the same ids are in every figure
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    for color, name in CSS_VARIABLES.items():
        text = text.replace(color, f"var({name})")
    return text.replace("<svg ", '<svg aria-hidden="true" ', 1)
