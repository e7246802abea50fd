"""Heatmaps onto pixels, through Captum's visualisation, and the sheets that they are set on."""

import math
import textwrap
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

from vision_attn.core.grid import upsample
from vision_attn.core.heatmap import Heatmap
from vision_attn.pooling.base import Window
from vision_attn.visualization.annotations import draw_cells, draw_outline, draw_windows

COLORS = {True: "RdBu_r", False: "inferno"}  # of maps with and without signs
THICKNESS = 0.6  # of the colour on the image
PANEL = 2.4  # inches
WORDS = 0.35  # inches, for title and caption
COLUMNS = 6
TITLE = 32  # letters above a panel
MOST_PIXELS = 1024  # a side; a panel shows no more
PLAIN: dict[str, Any] = {"fontsize": 9, "parse_math": False}  # names may have a $ in them
SMALL: dict[str, Any] = PLAIN | {"fontsize": 7}


@dataclass(frozen=True)
class OverlayRow:
    """One image with what the model made of it: a row or a sheet of pictures.

    Attributes:
        title: the file's name.
        pixels: (H, W, 3), uint8.
        predictions: class names and probabilities, best first.
        heatmaps: in the order they are drawn.
        target: the class that the maps speak for.
        outline: where the object is, bool (H, W), if that is known.
        windows: what the heads look through; a panel of their own, unless there are none.
    """

    title: str
    pixels: NDArray[np.uint8]
    predictions: Sequence[tuple[str, float]]
    heatmaps: Sequence[Heatmap]
    target: str
    outline: NDArray[np.bool_] | None = None
    windows: Sequence[Window] = ()

    @property
    def panels(self) -> int:
        """How many pictures it takes: the image, the predictions, the maps and the windows."""
        return 2 + len(self.heatmaps) + bool(self.windows)


def vmax(heatmap: Heatmap) -> float:
    """The value drawn in full color: the 99.5th percentile of what is drawn; 0 with NaN in it.

    >>> import torch
    >>> round(vmax(Heatmap("a", torch.tensor([[0.0, -2.0]]), signed=True)), 2)
    1.99
    """
    shown = heatmap.values.abs() if heatmap.signed else heatmap.values.clamp(min=0)
    return float(shown.float().flatten().quantile(0.995)) if shown.isfinite().all() else 0.0


def reduced(pixels: NDArray[Any]) -> NDArray[Any]:
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
    full = vmax(heatmap) if scale is None else scale
    shown = np.abs(values) if heatmap.signed else values.clip(min=0)
    if not np.isfinite(values).all() or shown.max() <= 0 or full <= 0:
        axes.imshow(pixels)
        axes.set_title(f"{titled(heatmap.name)} (empty)", **PLAIN)
    else:
        # Captum draws the largest value in full colour. A row below the picture holds the value
        # that is to be it, so that a faint map looks faint beside a strong one.
        values = np.concatenate([values.clip(-full, full), np.full((1, width), full)])
        visualization.visualize_image_attr(
            values[..., None],
            np.concatenate([pixels, pixels[-1:]]),
            method="blended_heat_map",
            sign="all" if heatmap.signed else "positive",
            cmap=COLORS[heatmap.signed],
            alpha_overlay=THICKNESS,
            outlier_perc=1e-3,  # 0 fails in Captum where sums are rounded up
            plt_fig_axis=(axes.figure, axes),
            use_pyplot=False,
        )
        axes.set_ylim(height - 0.5, -0.5)
        axes.set_title(titled(heatmap.name), **PLAIN)
        caption(axes, f"full colour: {'±' if heatmap.signed else ''}{full:.2g}")
    axes.set_axis_off()


def common_scales(rows: Sequence[OverlayRow]) -> dict[str, float]:
    """One scale for all maps of a name, so that they can be compared down a sheet."""
    scales: dict[str, float] = {}
    for heatmap in (heatmap for row in rows for heatmap in row.heatmaps):
        name = family(heatmap.name)
        scales[name] = max(scales.get(name, 0.0), vmax(heatmap))
    return scales


def family(name: str) -> str:
    """Which maps share a scale: those of one method, whatever their class or head.

    >>> family("evidence: cat"), family("head 3"), family("contrast:grad_cam: cat")
    ('evidence', 'head', 'contrast:grad_cam')
    """
    return name.split(": ")[0].rstrip("0123456789 ")


def titled(name: str) -> str:
    r"""A map's name as its title, the class in a line of its own where both do not fit.

    >>> titled("grad_cam: maine_coon"), titled("integrated_gradients: maine_coon_of_the_neighbours")
    ('grad cam: maine_coon', 'integrated gradients:\nmaine_coon_of_the_neighbours')
    """
    method, colon, label = name.partition(": ")
    method, label = method.replace("_", " "), shortened(label)
    fits = len(method) + len(label) < TITLE
    return f"{method}{colon}{label}" if fits or not label else f"{method}:\n{label}"


def shortened(name: str) -> str:
    """A name that fits above a picture.

    >>> shortened("abcdefghijklmnopqrstuvwxyz0123456789")
    'abcdefghijklmnopqrstuvwxyz01234…'
    """
    return name if len(name) <= TITLE else f"{name[: TITLE - 1]}…"


def draw_image(axes: Axes, explained: OverlayRow) -> None:
    """The image itself."""
    axes.imshow(reduced(explained.pixels))
    axes.set_title(explained.title[-34:], **PLAIN)
    axes.set_axis_off()


def draw_looking(axes: Axes, explained: OverlayRow) -> None:
    """The windows that heads look through, over the image."""
    pixels = reduced(explained.pixels)
    axes.imshow(pixels // 2 + 96)  # paler, so that thin lines are seen
    draw_windows(axes, explained.windows, *pixels.shape[:2])
    axes.set_title("windows", **PLAIN)
    axes.set_axis_off()
    caption(axes, "; ".join(dict.fromkeys(window.about for window in explained.windows)))


def caption(axes: Axes, text: str) -> None:
    """Small words below a picture."""
    lines = textwrap.fill(text, 46)
    axes.text(0.5, -0.02, lines, transform=axes.transAxes, ha="center", va="top", **SMALL)


def draw_predictions(axes: Axes, explained: OverlayRow) -> None:
    """Probabilities as bars, the explained class in colour."""
    names = [name for name, _ in explained.predictions]
    probabilities = [chance for _, chance in explained.predictions]
    colors = ["#c44e52" if name == explained.target else "#b0b7c3" for name in names]
    rows = np.arange(len(names))
    axes.barh(rows, probabilities, color=colors, height=0.72)
    for row, name, chance in zip(rows, names, probabilities, strict=True):
        axes.text(
            0.02,
            float(row),
            f"{shortened(name)}  {chance:.1%}",
            va="center",
            **(PLAIN | {"fontsize": 8}),
        )
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xticks=[], yticks=[])
    axes.set_title(titled(f"maps for: {explained.target}"), **PLAIN)
    height, width = explained.pixels.shape[:2]
    axes.set_box_aspect(min(max(height / width, 0.6), 1.6))  # bars need some room
    for side in axes.spines.values():
        side.set_visible(False)


def draw_row(
    panels: Sequence[Axes], explained: OverlayRow, scales: dict[str, float], cells: bool
) -> None:
    """All panels of one image; the rest of the panels stay empty."""
    image, predictions, *others = panels
    draw_image(image, explained)
    draw_predictions(predictions, explained)
    pixels = reduced(explained.pixels)
    pictures = [image]
    for heatmap in explained.heatmaps:
        pictures.append(others.pop(0))
        draw_heatmap(pictures[-1], pixels, heatmap, scales[family(heatmap.name)])
        if cells:
            draw_cells(pictures[-1], heatmap.values.shape[-2:], *pixels.shape[:2])
        own = [window for window in explained.windows if heatmap.head in window.heads]
        draw_windows(pictures[-1], own, *pixels.shape[:2])
    if explained.windows:
        pictures.append(others.pop(0))
        draw_looking(pictures[-1], explained)
    for cell in others:
        cell.set_axis_off()
    if explained.outline is not None:
        for picture in pictures:
            draw_outline(picture, reduced(explained.outline))


def sheet(rows: Sequence[OverlayRow], cells: bool = False) -> Figure:
    """A figure with input, predictions and every heatmap of some images.

    Args:
        rows: the images; a single one takes as many lines as it needs, several take one line each.
        cells: whether to draw the borders of each map's cells.
    """
    panels = max(row.panels for row in rows)
    columns = min(panels, COLUMNS) if len(rows) == 1 else panels
    lines = math.ceil(panels / columns)
    tallest = max(row.pixels.shape[0] / row.pixels.shape[1] for row in rows)
    height = PANEL * min(max(tallest, 0.6), 1.0) + WORDS
    figure = Figure(figsize=(PANEL * columns, height * lines * len(rows)), dpi=110)
    FigureCanvasAgg(figure)
    scales = common_scales(rows)
    grid = figure.subplots(lines * len(rows), columns, squeeze=False)
    for place, explained in enumerate(rows):
        panels_of_row = list(grid[place * lines : (place + 1) * lines].flat)
        draw_row(panels_of_row, explained, scales, cells)
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
    full = vmax(heatmap) if scale is None else scale
    shown = np.abs(values) if heatmap.signed else values
    if not np.isfinite(values).all() or shown.max() <= 0 or full <= 0:
        return pixels
    strength = values / full
    colors = mpl.colormaps[COLORS[heatmap.signed]](
        (strength.clip(-1, 1) + 1) / 2 if heatmap.signed else strength.clip(0, 1)
    )[..., :3]
    gray = pixels.mean(2, keepdims=True)
    gray = (gray - gray.min()) / max(np.ptp(gray), 1)  # from black to white, as Captum has it
    mixed = THICKNESS * colors + (1 - THICKNESS) * gray
    return (255 * mixed).round().astype(np.uint8)
