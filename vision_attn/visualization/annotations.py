"""What is drawn over a picture: borders of cells, outlines of objects, windows of heads."""

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

OUTLINE = "#3dff5c"  # in no map's colours
SEVERAL = "#ffffff"  # of the windows that one head looks through
HEADS = ("#ffb000", "#5ad1ff", "#ff6ec7", "#ffffff", "#c9a6ff", "#ff8a5a", "#6affd8", "#fff06a")


def draw_cells(axes: Axes, grid: Sequence[int], height: int, width: int) -> None:
    """Borders between the places of a grid; a map of pixels has none to be drawn."""
    if grid[0] * 4 > height or grid[1] * 4 > width:
        return
    style: dict[str, Any] = {"color": "white", "linewidth": 0.4, "alpha": 0.7}
    for row in range(1, grid[0]):
        axes.axhline(row * height / grid[0] - 0.5, **style)
    for column in range(1, grid[1]):
        axes.axvline(column * width / grid[1] - 0.5, **style)


def draw_outline(axes: Axes, mask: NDArray[np.bool_]) -> None:
    """The contour of an object, along the image's border too; nothing for an empty mask."""
    if not mask.any():
        return
    height, width = mask.shape
    columns, rows = np.arange(-1, width + 1), np.arange(-1, height + 1)
    limits = axes.get_xlim(), axes.get_ylim()
    lines = axes.contour(columns, rows, np.pad(mask, 1), levels=[0.5], colors=OUTLINE)
    dark_edge = [withStroke(linewidth=2.6, foreground="black")]  # seen on light pixels, too
    lines.set(linewidth=1.2, path_effects=dark_edge, clip_on=False)
    axes.set(xlim=limits[0], ylim=limits[1])


def draw_windows(axes: Axes, windows: Sequence[Window], height: int, width: int) -> None:
    """Frames of windows, and ovals of one sigma, on an image of height x width pixels.

    A head's only window has the head's colour, and its number at the centre.
    """
    different = merged(windows)
    times = Counter(window.heads for window in different)
    for window in different:
        (y, x), (up, left) = window.center, window.reach
        middle = (x * width - 0.5, y * height - 0.5)
        alone = times[window.heads] == 1
        color = HEADS[window.heads[0] % len(HEADS)] if alone else SEVERAL
        corner = ((x - left) * width - 0.5, (y - up) * height - 0.5)
        dashed = "-" if window.sigma is None else (0, (4, 3))
        frame = Rectangle(corner, 2 * left * width, 2 * up * height, linestyle=dashed)
        draw_edged(axes, frame, color, 1.0)
        if window.sigma is not None:
            sides = 2 * window.sigma[1] * width, 2 * window.sigma[0] * height
            draw_edged(axes, Ellipse(middle, sides[0], sides[1]), color, 1.4)
        if alone:
            draw_numbers(axes, middle, window.heads, color)


def merged(windows: Sequence[Window]) -> list[Window]:
    """Windows at one place as one window of all their heads: none is hidden by another."""
    found: dict[tuple, Window] = {}
    for window in windows:
        same = found.get(window[1:])
        heads = window.heads if same is None else (*same.heads, *window.heads)
        found[window[1:]] = window._replace(heads=heads)
    return list(found.values())


def draw_edged(axes: Axes, patch: Patch, color: str, width: float) -> None:
    """A patch's border with dark edges, which lie under the borders of all others."""
    edge = copy(patch)
    edge.set(linestyle="-")  # shows between dashes
    for part, ink, wide, layer in ((edge, "black", width + 0.9, 3), (patch, color, width, 4)):
        part.set(fill=False, edgecolor=ink, linewidth=wide, zorder=layer)
        axes.add_patch(part)


def counted(heads: tuple[int, ...]) -> str:
    """The numbers of heads, counted from 1 as the titles are.

    >>> counted((0,)), counted((0, 3)), counted((4, 5, 6))
    ('1', '1, 4', '5-7')
    """
    if len(heads) > 2 and heads == tuple(range(heads[0], heads[-1] + 1)):
        return f"{heads[0] + 1}-{heads[-1] + 1}"
    return ", ".join(str(head + 1) for head in heads)


def draw_numbers(
    axes: Axes, place: tuple[float, float], heads: tuple[int, ...], color: str
) -> None:
    """The numbers of heads at a place."""
    stroke = [withStroke(linewidth=2, foreground="black")]
    axes.text(
        *place,
        counted(heads),
        color=color,
        fontsize=8,
        fontweight="bold",
        ha="center",
        va="center",
        path_effects=stroke,
    )
