"""Heatmaps onto pixels, through Captum's visualisation. The only file that knows colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from captum.attr import visualization
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from vision_attn.upsampling import upsample

COLOURS = {True: "RdBu_r", False: "inferno"}  # of maps with and without signs
THICKNESS = 0.6  # of the colour on the image
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
        cells: whether the borders of its cells are drawn.
    """

    name: str
    values: Tensor
    signed: bool
    cells: bool = False

    @property
    def reach(self) -> float:
        """The value that is drawn in full colour: of all places but the most extreme 0.5 %."""
        shown = self.values.abs() if self.signed else self.values.clamp(min=0)
        return float(shown.float().flatten().quantile(0.995)) if shown.isfinite().all() else 0.0


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


def draw_heatmap(
    axes: Axes, pixels: NDArray[np.uint8], heatmap: Heatmap, scale: float | None = None
) -> None:
    """One map over its image; a map that says nothing leaves the image as it is.

    Args:
        axes: where to.
        pixels: the image.
        heatmap: the map.
        scale: the value that is drawn in full colour; None takes the map's own.
    """
    height, width = pixels.shape[:2]
    values = upsample(heatmap.values[None].cpu(), height, width)[0].numpy()
    full = heatmap.reach if scale is None else scale
    shown = np.abs(values) if heatmap.signed else values.clip(min=0)
    if not np.isfinite(values).all() or shown.max() <= 0 or full <= 0:
        axes.imshow(pixels)
        axes.set_title(f"{heatmap.name.replace('_', ' ')[:34]} (empty)", **PLAIN)
    else:
        # Captum draws the largest value in full colour. A row below the picture holds the value
        # that is to be it, so that a faint map looks faint beside a strong one.
        values = np.concatenate([values.clip(-full, full), np.full((1, width), full)])
        visualization.visualize_image_attr(
            values[..., None],
            np.concatenate([pixels, pixels[-1:]]),
            method="blended_heat_map",
            sign="all" if heatmap.signed else "positive",
            cmap=COLOURS[heatmap.signed],
            alpha_overlay=THICKNESS,
            outlier_perc=1e-3,  # 0 fails in Captum where sums are rounded up
            plt_fig_axis=(axes.figure, axes),
            use_pyplot=False,
        )
        axes.set_ylim(height - 0.5, -0.5)
        axes.set_title(heatmap.name.replace("_", " ")[:38], **PLAIN)
    if heatmap.cells:
        draw_cells(axes, heatmap.values.shape[-2:], height, width)
    axes.set_axis_off()


def draw_cells(axes: Axes, grid: Sequence[int], height: int, width: int) -> None:
    """Borders between the places of a grid; a map of pixels has none to be drawn."""
    if grid[0] * 4 > height or grid[1] * 4 > width:
        return
    style: dict[str, Any] = {"color": "white", "linewidth": 0.4, "alpha": 0.7}
    for row in range(1, grid[0]):
        axes.axhline(row * height / grid[0] - 0.5, **style)
    for column in range(1, grid[1]):
        axes.axvline(column * width / grid[1] - 0.5, **style)


def common_scales(rows: Sequence[Explained]) -> dict[str, float]:
    """One scale for all maps of a name, so that they can be compared down a sheet."""
    scales: dict[str, float] = {}
    for heatmap in (heatmap for row in rows for heatmap in row.heatmaps):
        name = family(heatmap.name)
        scales[name] = max(scales.get(name, 0.0), heatmap.reach)
    return scales


def family(name: str) -> str:
    """Which maps share a scale: those of one method, whatever their class or head.

    >>> family("evidence: cat"), family("head 3"), family("contrast:grad_cam: cat")
    ('evidence', 'head', 'contrast:grad_cam')
    """
    return name.split(": ")[0].rstrip("0123456789 ")


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
    scales = common_scales(rows)
    grid = figure.subplots(lines * len(rows), columns, squeeze=False)
    for place, explained in enumerate(rows):
        cells = list(grid[place * lines : (place + 1) * lines].flat)
        draw_image(cells[0], explained)
        draw_predictions(cells[1], explained)
        pixels = reduced(explained.pixels)
        for cell, heatmap in zip(cells[2:], explained.heatmaps, strict=False):
            draw_heatmap(cell, pixels, heatmap, scales[family(heatmap.name)])
        for cell in cells[2 + len(explained.heatmaps) :]:
            cell.set_axis_off()
    figure.tight_layout(pad=0.6)
    return figure


def blended(
    pixels: NDArray[np.uint8], heatmap: Heatmap, scale: float | None = None
) -> NDArray[np.uint8]:
    """What `draw_heatmap` draws, as pixels (H, W, 3): without a figure, and so far faster.

    Args:
        pixels: the image.
        heatmap: the map.
        scale: the value that is drawn in full colour; None takes the map's own.
    """
    values = upsample(heatmap.values[None].cpu(), *pixels.shape[:2])[0].numpy()
    full = heatmap.reach if scale is None else scale
    shown = np.abs(values) if heatmap.signed else values
    if not np.isfinite(values).all() or shown.max() <= 0 or full <= 0:
        return pixels
    strength = values / full
    colours = mpl.colormaps[COLOURS[heatmap.signed]](
        (strength.clip(-1, 1) + 1) / 2 if heatmap.signed else strength.clip(0, 1)
    )[..., :3]
    grey = pixels.mean(2, keepdims=True)
    grey = (grey - grey.min()) / max(np.ptp(grey), 1)  # from black to white, as Captum has it
    mixed = THICKNESS * colours + (1 - THICKNESS) * grey
    return (255 * mixed).round().astype(np.uint8)
