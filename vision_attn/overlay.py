"""Heatmaps onto pixels, through Captum's visualisation. The only file that knows colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from captum.attr import visualization
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from vision_attn.upsampling import upsample

PANEL = 2.4  # inches
COLUMNS = 6
MOST_PIXELS = 1024  # a side; a panel shows no more
PLAIN: dict[str, Any] = {"fontsize": 9, "parse_math": False}  # names may have a $ in them


@dataclass(frozen=True)
class Heatmap:
    """A map of one image, ready to be drawn.

    Attributes:
        name: what stands above it.
        values: (h, w), raw.
        signed: whether negative values speak against the class.
    """

    name: str
    values: Tensor
    signed: bool


@dataclass(frozen=True)
class Explained:
    """One image with what the model made of it: a row or a sheet of pictures.

    Attributes:
        title: the file's name.
        pixels: (H, W, 3), uint8.
        predictions: class names and probabilities, best first.
        heatmaps: in the order they are drawn.
        target: the class that the maps speak for.
        outline: where the object is, bool (H, W), if that is known.
    """

    title: str
    pixels: NDArray[np.uint8]
    predictions: Sequence[tuple[str, float]]
    heatmaps: Sequence[Heatmap]
    target: str
    outline: NDArray[np.bool_] | None = None


def reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every k-th pixel of an image that is larger than a panel can show."""
    step = math.ceil(max(pixels.shape[:2]) / MOST_PIXELS)
    return pixels[::step, ::step]


def draw_heatmap(axes: Axes, pixels: NDArray[np.uint8], heatmap: Heatmap) -> None:
    """One map over its image; a map that says nothing leaves the image as it is."""
    height, width = pixels.shape[:2]
    values = upsample(heatmap.values[None].cpu(), height, width)[0].numpy()
    name = heatmap.name.replace("_", " ")
    shown = np.abs(values) if heatmap.signed else values.clip(min=0)
    if not np.isfinite(values).all() or shown.max() <= 0:
        axes.imshow(pixels)
        axes.set_title(f"{name} (empty)", **PLAIN)
    else:
        visualization.visualize_image_attr(
            values[..., None],
            pixels,
            method="blended_heat_map",
            sign="all" if heatmap.signed else "positive",
            cmap="RdBu_r" if heatmap.signed else "inferno",
            alpha_overlay=0.6,
            outlier_perc=0.5,
            plt_fig_axis=(axes.figure, axes),
            use_pyplot=False,
        )
        axes.set_title(name, **PLAIN)
    axes.set_axis_off()


def draw_image(axes: Axes, explained: Explained) -> None:
    """The image itself, with its object's outline where that is known."""
    axes.imshow(reduced(explained.pixels))
    axes.set_title(explained.title[-34:], **PLAIN)
    axes.set_axis_off()
    if explained.outline is not None:
        axes.contour(explained.outline, levels=[0.5], colors="white", linewidths=1)


def draw_predictions(axes: Axes, explained: Explained) -> None:
    """Probabilities as bars, the explained class in colour."""
    names = [name for name, _ in explained.predictions]
    chances = [chance for _, chance in explained.predictions]
    colours = ["#c44e52" if name == explained.target else "#b0b7c3" for name in names]
    rows = np.arange(len(names))
    axes.barh(rows, chances, color=colours, height=0.72)
    for row, name, chance in zip(rows, names, chances, strict=True):
        axes.text(
            0.02, float(row), f"{name[:26]}  {chance:.1%}", va="center", **(PLAIN | {"fontsize": 8})
        )
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xticks=[], yticks=[])
    axes.set_title(f"maps for: {explained.target}"[:34], **PLAIN)
    for side in axes.spines.values():
        side.set_visible(False)


def sheet(rows: Sequence[Explained]) -> Figure:
    """Input, predictions and every map: one image in as many lines as it needs, or one a line."""
    panels = 2 + max(len(row.heatmaps) for row in rows)
    columns = min(panels, COLUMNS) if len(rows) == 1 else panels
    lines = math.ceil(panels / columns)
    figure = Figure(figsize=(PANEL * columns, (PANEL + 0.25) * lines * len(rows)), dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines * len(rows), columns, squeeze=False)
    for place, explained in enumerate(rows):
        cells = list(grid[place * lines : (place + 1) * lines].flat)
        draw_image(cells[0], explained)
        draw_predictions(cells[1], explained)
        pixels = reduced(explained.pixels)
        for cell, heatmap in zip(cells[2:], explained.heatmaps, strict=False):
            draw_heatmap(cell, pixels, heatmap)
        for cell in cells[2 + len(explained.heatmaps) :]:
            cell.set_axis_off()
    figure.tight_layout(pad=0.6)
    return figure
