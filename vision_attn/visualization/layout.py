"""Layout of figures: boxes in inches from the top left, and rows of panels without stragglers."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 110
PANEL = 3.0  # inches: the side of a square panel
NARROWEST, WIDEST, LOWEST, TALLEST = 2.5, 4.2, 1.05, 4.0  # inches
MOST_COLUMNS = 4


class Box(NamedTuple):
    """A rectangle of a page, in inches from its top left corner."""

    left: float
    top: float
    width: float
    height: float


class Page:
    """A figure whose parts are placed by boxes in inches.

    Args:
        width: of the figure, in inches.
        height: of the figure, in inches.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(self.figure)

    def axes(self, box: Box) -> Axes:
        """Axes without frame and ticks that fill a box."""
        left, bottom = box.left / self.width, 1 - (box.top + box.height) / self.height
        axes = self.figure.add_axes(
            (left, bottom, box.width / self.width, box.height / self.height)
        )
        axes.set_axis_off()
        return axes

    def text(
        self,
        left: float,
        top: float,
        text: str,
        va: str = "top",
        ha: str = "left",
        color: str = "black",
        fontsize: float = 9,
        weight: str = "normal",
    ) -> None:
        """Write text whose top is `top` inches below that of the page; names may contain a $."""
        x, y = left / self.width, 1 - top / self.height
        style = {"va": va, "ha": ha, "color": color, "fontsize": fontsize, "weight": weight}
        self.figure.text(x, y, text, fontdict=style, parse_math=False)


def balanced(count: int) -> list[int]:
    """The number of panels in each row: up to 4, none alone below a full row.

    >>> [balanced(n) for n in (0, 1, 3, 4, 5, 7, 9, 13)]
    [[], [1], [3], [2, 2], [3, 2], [4, 3], [3, 3, 3], [4, 3, 3, 3]]
    """
    if count == 0:
        return []
    rows = 1 if count < MOST_COLUMNS else max(2, -(-count // MOST_COLUMNS))
    return [count // rows + (row < count % rows) for row in range(rows)]


def panel_size(height: int, width: int) -> tuple[float, float]:
    """Width and height of a panel in inches, for an image of height x width pixels.

    Panels have the same area whatever their shape, but never too little room for their captions.

    >>> panel_size(500, 500), panel_size(400, 100), panel_size(100, 400)
    ((3.0, 3.0), (2.5, 4.0), (4.2, 1.5))
    """
    ratio = (width / height) ** 0.5
    return (
        min(max(PANEL * ratio, NARROWEST), WIDEST),
        min(max(PANEL / ratio, LOWEST), TALLEST),
    )
