"""Annotations on images: grid lines, object outlines and attention windows."""

from collections import Counter
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse, Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from vision_attn.pooling.base import Window

OUTLINE = "#3dff5c"  # a color that no colormap here contains
SEVERAL_COLOR = "#ffffff"  # if a head has several windows
COLORS = ("#ffb000", "#5ad1ff", "#ff6ec7", "#ffffff", "#c9a6ff", "#ff8a5a", "#6affd8", "#fff06a")


def draw_cells(axes: Axes, grid: Sequence[int], height: int, width: int) -> None:
    """Draw grid lines between the cells of a map; none if cells are smaller than 4 pixels."""
    if grid[0] * 4 > height or grid[1] * 4 > width:
        return
    style: dict[str, Any] = {"color": "white", "linewidth": 0.4, "alpha": 0.7}
    for row in range(1, grid[0]):
        axes.axhline(row * height / grid[0] - 0.5, **style)
    for column in range(1, grid[1]):
        axes.axvline(column * width / grid[1] - 0.5, **style)


def draw_outline(axes: Axes, mask: NDArray[np.bool_]) -> None:
    """Draw the contour of an object mask, also along the image border; nothing if it is empty."""
    if not mask.any():
        return
    height, width = mask.shape
    columns, rows = np.arange(-1, width + 1), np.arange(-1, height + 1)
    limits = axes.get_xlim(), axes.get_ylim()
    lines = axes.contour(columns, rows, np.pad(mask, 1), levels=[0.5], colors=OUTLINE)
    dark_edge = [withStroke(linewidth=2.6, foreground="black")]  # keeps it visible on light pixels
    lines.set(linewidth=1.2, path_effects=dark_edge, clip_on=False)
    axes.set(xlim=limits[0], ylim=limits[1])


def draw_windows(axes: Axes, windows: Sequence[Window], height: int, width: int) -> None:
    """Draw attention windows as frames, with one-sigma ellipses, on height x width pixels.

    If a head has a single window, it gets the head's color, and the head's number at its center.
    """
    distinct = merged(windows)
    windows_per_heads = Counter(window.heads for window in distinct)
    for window in distinct:
        (y, x), (up, left) = window.center, window.reach
        center = (x * width - 0.5, y * height - 0.5)
        single = windows_per_heads[window.heads] == 1
        color = COLORS[window.heads[0] % len(COLORS)] if single else SEVERAL_COLOR
        corner = ((x - left) * width - 0.5, (y - up) * height - 0.5)
        dashed = "-" if window.sigma is None else (0, (4, 3))
        frame = Rectangle(corner, 2 * left * width, 2 * up * height, linestyle=dashed)
        draw_edged(axes, frame, color, 1.0)
        if window.sigma is not None:
            sides = 2 * window.sigma[1] * width, 2 * window.sigma[0] * height
            draw_edged(axes, Ellipse(center, sides[0], sides[1]), color, 1.4)
        if single:
            draw_numbers(axes, center, window.heads, color)


def merged(windows: Sequence[Window]) -> list[Window]:
    """Merge identical windows into one window with all their heads, so that none is hidden."""
    found: dict[tuple, Window] = {}
    for window in windows:
        same = found.get(window[1:])
        heads = window.heads if same is None else (*same.heads, *window.heads)
        found[window[1:]] = window._replace(heads=heads)
    return list(found.values())


def draw_edged(axes: Axes, patch: Patch, color: str, width: float) -> None:
    """Draw the border of a patch over a dark edge, which lies below the borders of all patches."""
    edge = copy(patch)
    edge.set(linestyle="-")  # visible between the dashes
    for part, line_color, line_width, zorder in (
        (edge, "black", width + 0.9, 3),
        (patch, color, width, 4),
    ):
        part.set(fill=False, edgecolor=line_color, linewidth=line_width, zorder=zorder)
        axes.add_patch(part)


def head_numbers(heads: tuple[int, ...]) -> str:
    """Format head indices as numbers from 1, as in the titles.

    >>> head_numbers((0,)), head_numbers((0, 3)), head_numbers((4, 5, 6))
    ('1', '1, 4', '5-7')
    """
    if len(heads) > 2 and heads == tuple(range(heads[0], heads[-1] + 1)):
        return f"{heads[0] + 1}-{heads[-1] + 1}"
    return ", ".join(str(head + 1) for head in heads)


def draw_numbers(
    axes: Axes, position: tuple[float, float], heads: tuple[int, ...], color: str
) -> None:
    """Write head numbers at a position in pixels."""
    stroke = [withStroke(linewidth=2, foreground="black")]
    axes.text(
        *position,
        head_numbers(heads),
        color=color,
        fontsize=8,
        fontweight="bold",
        ha="center",
        va="center",
        path_effects=stroke,
    )
