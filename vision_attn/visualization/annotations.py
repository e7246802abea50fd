"""Annotations on images: grid lines, object outlines and attention windows."""

from collections import Counter
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse, Patch, Polygon, Rectangle
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


def draw_windows(
    axes: Axes, windows: Sequence[Window], height: int, width: int, names: Sequence[str] = ()
) -> None:
    """Draw attention windows as frames, with one-sigma ellipses, on height x width pixels.

    If a head has a single window, it gets the head's color, and the head's number at its center.
    The edge of a Gaussian window is left out where it is at the border of the image or beyond.

    Args:
        axes: the axes to draw on.
        windows: the windows.
        height: of the image.
        width: of the image.
        names: of the heads by their index, such as "window 5", whose number is written.
    """
    distinct = merged(windows)
    windows_per_heads = Counter(window.heads for window in distinct)
    taken: list[tuple[float, float]] = []
    for window in distinct:
        (y, x), (up, left) = window.center, window.reach
        center = (x * width - 0.5, y * height - 0.5)
        single = windows_per_heads[window.heads] == 1
        color = color_of(window.heads[0], names) if single else SEVERAL_COLOR
        if window.sigma is None:
            corner = ((x - left) * width - 0.5, (y - up) * height - 0.5)
            frame = Rectangle(corner, 2 * left * width, 2 * up * height)
            draw_edged(axes, frame, color, 1.0)
        else:
            for edge in edges_inside(window, height, width):
                draw_edged(axes, Polygon(edge, closed=False, linestyle=(0, (4, 3))), color, 1.0)
            sides = 2 * window.sigma[1] * width, 2 * window.sigma[0] * height
            draw_edged(axes, Ellipse(center, sides[0], sides[1]), color, 1.4)
        if single:
            place = free_place(center, taken, 0.08 * width)
            taken.append(place)
            draw_numbers(axes, place, numbers_of(window.heads, names), color)


def color_of(head: int, names: Sequence[str]) -> str:
    """The color of a head, by the number in its name: parts of a wide head have the same.

    >>> color_of(1, []) == color_of(20, [*["global 1"] * 20, "window 2"]) == COLORS[1]
    True
    """
    number = names[head].rpartition(" ")[2] if names else ""
    return COLORS[(int(number) - 1 if number.isdigit() else head) % len(COLORS)]


def edges_inside(window: Window, height: int, width: int) -> list[list[tuple[float, float]]]:
    """The sides of a window's frame that lie within the image, as lines in pixels.

    >>> window = Window((0,), (0.5, 0.25), (0.25, 0.5), None, "")   # x from -1/4 to 3/4
    >>> [len(edges_inside(window, 40, 60)), edges_inside(window, 40, 60)[-1]]
    [3, [(44.5, 9.5), (44.5, 29.5)]]
    """
    (y, x), (up, left) = window.center, window.reach
    rows, columns = (y - up, y + up), (x - left, x + left)
    (top, bottom), (first, last) = ([min(max(e, 0), 1) for e in pair] for pair in (rows, columns))
    lines = [((first, e), (last, e)) for e in rows if 0.01 < e < 0.99]
    lines += [((e, top), (e, bottom)) for e in columns if 0.01 < e < 0.99]
    return [[(a * width - 0.5, b * height - 0.5) for a, b in line] for line in lines]


def free_place(
    place: tuple[float, float], taken: Sequence[tuple[float, float]], room: float
) -> tuple[float, float]:
    """The place itself, or the next one to the right of it that no number is near.

    >>> free_place((10.0, 10.0), [(9.0, 11.0)], room=5.0)
    (15.0, 10.0)
    """
    x, y = place
    while any(max(abs(x - a), abs(y - b)) < 0.99 * room for a, b in taken):
        x += room
    return x, y


def numbers_of(heads: tuple[int, ...], names: Sequence[str]) -> str:
    """The numbers in the names of some heads; their own numbers, from 1, if they have no names.

    >>> numbers_of((4, 5), []), numbers_of((1, 2), ["global 1", "window 2", "window 2"])
    ('5, 6', '2')
    """
    if not names:
        return head_numbers(heads)
    return ", ".join(dict.fromkeys(names[head].rpartition(" ")[2] for head in heads))


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


def draw_numbers(axes: Axes, position: tuple[float, float], numbers: str, color: str) -> None:
    """Write the numbers of heads at a position in pixels."""
    stroke = [withStroke(linewidth=2, foreground="black")]
    axes.text(
        *position,
        numbers,
        color=color,
        fontsize=10,
        fontweight="bold",
        ha="center",
        va="center",
        path_effects=stroke,
    )
