"""Heatmap overlays on images, with Captum's visualization, and figures that combine them."""

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
from vision_attn.core.terminal import printable
from vision_attn.pooling.base import Window
from vision_attn.visualization.annotations import draw_cells, draw_outline, draw_windows
from vision_attn.visualization.fonts import font_families

COLORS = {True: "RdBu_r", False: "inferno"}  # colormaps of signed and unsigned maps
ALPHA = 0.6  # opacity of the overlay on the image
PANEL = 2.4  # inches
TEXT_HEIGHT = 0.35  # inches, for title and caption
COLUMNS = 6
TITLE = 32  # maximum characters in a line of a title
MAX_PIXELS = 1024  # per side; a panel cannot show more
PLAIN: dict[str, Any] = {"fontsize": 9, "parse_math": False}  # names may contain a $
SMALL: dict[str, Any] = PLAIN | {"fontsize": 7}


@dataclass(frozen=True)
class OverlayRow:
    """One image with its predictions and heatmaps, to be drawn as a row of panels.

    Attributes:
        title: the file name.
        pixels: (H, W, 3), uint8.
        predictions: class names and probabilities, most probable first.
        heatmaps: in drawing order.
        target: the class that the maps explain.
        outline: the object mask, bool (H, W), if it is known.
        windows: the attention windows of the heads; they get an extra panel if there are any.
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
        """Number of panels: the image, the predictions, the maps and the windows."""
        return 2 + len(self.heatmaps) + bool(self.windows)


def vmax(heatmap: Heatmap) -> float:
    """Compute the value drawn in full color: 99.5th percentile of drawn values; 0 with NaN.

    >>> import torch
    >>> round(vmax(Heatmap("a", torch.tensor([[0.0, -2.0]]), signed=True)), 2)
    1.99
    """
    shown = heatmap.values.abs() if heatmap.signed else heatmap.values.clamp(min=0)
    return float(shown.float().flatten().quantile(0.995)) if shown.isfinite().all() else 0.0


def downsample(pixels: NDArray[Any]) -> NDArray[Any]:
    """Downsample an image that is larger than a panel can show, by taking every k-th pixel."""
    step = math.ceil(max(pixels.shape[:2]) / MAX_PIXELS)
    return pixels[::step, ::step]


def draw_heatmap(
    axes: Axes, pixels: NDArray[np.uint8], heatmap: Heatmap, scale: float | None = None
) -> None:
    """Draw a heatmap over its image; an empty map leaves the image unchanged.

    Args:
        axes: the axes to draw on.
        pixels: the image.
        heatmap: the map.
        scale: the value that is drawn in full color; None means the map's own.
    """
    height, width = pixels.shape[:2]
    values = upsample(heatmap.values[None].cpu(), height, width)[0].numpy()
    full = vmax(heatmap) if scale is None else scale
    shown = np.abs(values) if heatmap.signed else values.clip(min=0)
    if not np.isfinite(values).all() or shown.max() <= 0 or full <= 0:
        axes.imshow(pixels)
        axes.set_title(f"{title_of(heatmap.name)} (empty)", **PLAIN)
    else:
        # Captum draws the largest value in full color. A hidden row below the image contains the
        # value of the common scale, so that a weak map looks weak beside a strong one.
        values = np.concatenate([values.clip(-full, full), np.full((1, width), full)])
        visualization.visualize_image_attr(
            values[..., None],
            np.concatenate([pixels, pixels[-1:]]),
            method="blended_heat_map",
            sign="all" if heatmap.signed else "positive",
            cmap=COLORS[heatmap.signed],
            alpha_overlay=ALPHA,
            outlier_perc=1e-3,  # 0 fails in Captum where sums are rounded up
            plt_fig_axis=(axes.figure, axes),
            use_pyplot=False,
        )
        axes.set_ylim(height - 0.5, -0.5)
        axes.set_title(title_of(heatmap.name), **PLAIN)
        caption(axes, f"full color: {'±' if heatmap.signed else ''}{full:.2g}")
    axes.set_axis_off()


def common_scales(rows: Sequence[OverlayRow]) -> dict[str, float]:
    """Compute one color scale per method, so that maps can be compared across rows."""
    scales: dict[str, float] = {}
    for heatmap in (heatmap for row in rows for heatmap in row.heatmaps):
        name = family(heatmap.name)
        scales[name] = max(scales.get(name, 0.0), vmax(heatmap))
    return scales


def family(name: str) -> str:
    """Get the method of a map, without class or head; its maps share a color scale.

    >>> family("evidence: cat"), family("head 3"), family("contrast:grad_cam: cat")
    ('evidence', 'head', 'contrast:grad_cam')
    """
    return name.split(": ")[0].rstrip("0123456789 ")


def title_of(name: str) -> str:
    r"""Format a map's name as a title, with the class on its own line if both do not fit.

    >>> title_of("grad_cam: maine_coon")
    'grad cam: maine_coon'
    >>> title_of("integrated_gradients: maine_coon_of_the_neighbors")
    'integrated gradients:\nmaine_coon_of_the_neighbors'
    """
    method, colon, label = name.partition(": ")
    method, label = method.replace("_", " "), shorten(label)
    fits = len(method) + len(label) < TITLE
    return f"{method}{colon}{label}" if fits or not label else f"{method}:\n{label}"


def shorten(name: str) -> str:
    """Shorten a name, on one line, to the width of a panel.

    >>> shorten("abcdefghijklmnopqrstuvwxyz0123456789")
    'abcdefghijklmnopqrstuvwxyz01234…'
    """
    name = printable(name)
    return name if len(name) <= TITLE else f"{name[: TITLE - 1]}…"


def draw_image(axes: Axes, row: OverlayRow) -> None:
    """Draw the image itself."""
    axes.imshow(downsample(row.pixels))
    axes.set_title(printable(row.title)[-34:], **PLAIN)
    axes.set_axis_off()


def draw_windows_panel(axes: Axes, row: OverlayRow) -> None:
    """Draw the attention windows of all heads over a paler image."""
    pixels = downsample(row.pixels)
    axes.imshow(pixels // 2 + 96)  # paler, so that thin lines stay visible
    draw_windows(axes, row.windows, *pixels.shape[:2])
    axes.set_title("windows", **PLAIN)
    axes.set_axis_off()
    caption(axes, "; ".join(dict.fromkeys(window.about for window in row.windows)))


def caption(axes: Axes, text: str) -> None:
    """Write small text below a panel."""
    lines = textwrap.fill(text, 46)
    axes.text(0.5, -0.02, lines, transform=axes.transAxes, ha="center", va="top", **SMALL)


def draw_predictions(axes: Axes, row: OverlayRow) -> None:
    """Draw probabilities as bars, with the explained class in a different color."""
    names = [name for name, _ in row.predictions]
    probabilities = [probability for _, probability in row.predictions]
    colors = ["#c44e52" if name == row.target else "#b0b7c3" for name in names]
    positions = np.arange(len(names))
    axes.barh(positions, probabilities, color=colors, height=0.72)
    for y, name, probability in zip(positions, names, probabilities, strict=True):
        axes.text(
            0.02,
            float(y),
            f"{shorten(name)}  {probability:.1%}",
            va="center",
            **(PLAIN | {"fontsize": 8}),
        )
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xticks=[], yticks=[])
    axes.set_title(title_of(f"maps for: {row.target}"), **PLAIN)
    height, width = row.pixels.shape[:2]
    axes.set_box_aspect(min(max(height / width, 0.6), 1.6))  # leaves room for the bars
    for side in axes.spines.values():
        side.set_visible(False)


def draw_row(
    panels: Sequence[Axes], row: OverlayRow, scales: dict[str, float], cells: bool
) -> None:
    """Draw all panels of one image; surplus panels stay empty."""
    image, predictions, *others = panels
    draw_image(image, row)
    draw_predictions(predictions, row)
    pixels = downsample(row.pixels)
    drawn_panels = [image]
    for heatmap in row.heatmaps:
        drawn_panels.append(others.pop(0))
        draw_heatmap(drawn_panels[-1], pixels, heatmap, scales[family(heatmap.name)])
        if cells:
            draw_cells(drawn_panels[-1], heatmap.values.shape[-2:], *pixels.shape[:2])
        own = [window for window in row.windows if heatmap.head in window.heads]
        draw_windows(drawn_panels[-1], own, *pixels.shape[:2])
    if row.windows:
        drawn_panels.append(others.pop(0))
        draw_windows_panel(drawn_panels[-1], row)
    for cell in others:
        cell.set_axis_off()
    if row.outline is not None:
        for panel in drawn_panels:
            draw_outline(panel, downsample(row.outline))


def sheet(rows: Sequence[OverlayRow], cells: bool = False) -> Figure:
    """Draw a figure with the input, predictions and heatmaps of each image.

    Args:
        rows: the images. A single image takes as many lines as it needs, several images take one
            line each.
        cells: whether to draw grid lines between the cells of each map.
    """
    texts = [text for row in rows for text in (row.title, *dict(row.predictions))]
    with mpl.rc_context({"font.family": font_families(texts)}):
        return draw_sheet(rows, cells)


def draw_sheet(rows: Sequence[OverlayRow], cells: bool) -> Figure:
    """Draw the figure of `sheet` with the current fonts."""
    panels = max(row.panels for row in rows)
    columns = min(panels, COLUMNS) if len(rows) == 1 else panels
    lines = math.ceil(panels / columns)
    tallest = max(row.pixels.shape[0] / row.pixels.shape[1] for row in rows)
    height = PANEL * min(max(tallest, 0.6), 1.0) + TEXT_HEIGHT
    figure = Figure(figsize=(PANEL * columns, height * lines * len(rows)), dpi=110)
    FigureCanvasAgg(figure)
    scales = common_scales(rows)
    grid = figure.subplots(lines * len(rows), columns, squeeze=False)
    for index, row in enumerate(rows):
        panels_of_row = list(grid[index * lines : (index + 1) * lines].flat)
        draw_row(panels_of_row, row, scales, cells)
    figure.tight_layout(pad=0.6)
    return figure


def blend(
    pixels: NDArray[np.uint8], heatmap: Heatmap, scale: float | None = None
) -> NDArray[np.uint8]:
    """Blend a heatmap with its image into pixels (H, W, 3), as `draw_heatmap` but far faster.

    Args:
        pixels: the image.
        heatmap: the map.
        scale: the value that is drawn in full color; None means the map's own.
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
    gray = (gray - gray.min()) / max(np.ptp(gray), 1)  # min-max scaled, as in Captum
    mixed = ALPHA * colors + (1 - ALPHA) * gray
    return (255 * mixed).round().astype(np.uint8)
