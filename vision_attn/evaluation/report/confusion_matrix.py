"""Confusion matrix of the report: a table for few classes, a scrolling picture for many."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

MAX_IN_TABLE = 20  # classes
MAX_IN_PICTURE = 200  # classes; if there are more, those with the most mistakes are shown
CELL = 12  # size of a cell in SVG units; a name is slightly less high
LETTER = 5.6  # approximate width of a letter in SVG units
MAX_LETTERS = 24  # of a class name beside the picture
MAX_PAIRS = 15  # confusions that are listed
COLOR = (31, 111, 235)  # for light and dark pages; its opacity shows the share


@dataclass(frozen=True)
class Cell:
    """Number of images of one class predicted as another, and their share of the class."""

    images: int
    share: float


@dataclass(frozen=True)
class Pair:
    """A confusion of two classes: number of images, and their share of the true class."""

    true_class: str
    predicted: str
    images: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix for the report.

    Attributes:
        names: the classes shown.
        classes: number of all classes.
        rows: cells, row by row; empty if the matrix is shown as a picture.
        picture: a data URI with one pixel per cell; empty if the matrix is shown as a table.
        pairs: the most frequent confusions.
    """

    names: list[str]
    classes: int
    rows: list[list[Cell]]
    picture: str
    pairs: list[Pair]

    @property
    def margin(self) -> float:
        """Space for the class names beside the picture, in SVG units."""
        return min(max(len(name) for name in self.names), MAX_LETTERS) * LETTER + 8

    @property
    def cell(self) -> int:
        """Height of a row of the picture, in SVG units."""
        return CELL

    @property
    def labels(self) -> list[str]:
        """Class names, shortened to fit beside the picture."""
        return [n if len(n) <= MAX_LETTERS else n[: MAX_LETTERS - 1] + "…" for n in self.names]


def confusion_matrix(confusion: Tensor, class_names: list[str]) -> Matrix:
    """Prepare a confusion matrix for the report.

    Args:
        confusion: number of images (K, K), with a row per true class and a column per predicted
            class.
        class_names: in the order of the matrix.
    """
    counts = confusion.numpy()
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    shown = np.arange(len(counts))
    if len(counts) > MAX_IN_PICTURE:
        mistakes = counts.sum(1) - counts.diagonal()
        shown = np.sort(np.argsort(-mistakes, kind="stable")[:MAX_IN_PICTURE])
    rows, picture = [], ""
    if len(counts) <= MAX_IN_TABLE:
        rows = [
            [Cell(int(n), float(s)) for n, s in zip(*row, strict=True)]
            for row in zip(counts, shares, strict=True)
        ]
    else:
        picture = png_uri(shares[np.ix_(shown, shown)])
    names = [class_names[k] for k in shown]
    return Matrix(names, len(counts), rows, picture, most_frequent(counts, shares, class_names))


def most_frequent(counts: np.ndarray, shares: np.ndarray, class_names: list[str]) -> list[Pair]:
    """The most frequent confusions, in descending order.

    >>> counts = np.array([[8, 2], [1, 9]])
    >>> most_frequent(counts, counts / 10, ["cat", "dog"])[0]
    Pair(true_class='cat', predicted='dog', images=2, share=0.2)
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    cells = [divmod(index, len(counts)) for index in order.tolist()]
    return [
        Pair(class_names[t], class_names[p], int(wrong[t, p]), float(shares[t, p]))
        for t, p in cells
        if wrong[t, p]
    ]


def png_uri(shares: np.ndarray) -> str:
    """Shares in [0, 1] as a PNG data URI: one color, transparent where the share is 0.

    The opacity is the square root of the share, so that rare confusions are visible.
    """
    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3] = COLOR
    pixels[..., 3] = np.sqrt(shares) * 255
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
