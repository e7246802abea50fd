"""Confusion matrix of the report: a table for few classes, a scrolling picture for many."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from vision_attn.evaluation.report.data_uri import data_uri

MAX_IN_TABLE = 20  # classes
MAX_IN_PICTURE = 200  # classes; if there are more, those with the most mistakes are shown
CELL = 12  # size of a cell in SVG units; a name is slightly less high
LETTER = 5.6  # approximate width of a letter in SVG units
MAX_LETTERS = 24  # of a class name beside the picture
MAX_PAIRS = 15  # pairs of classes that are listed
RIGHT, WRONG = (110, 134, 168), (214, 93, 14)  # for light and dark pages; opacity is the share


@dataclass(frozen=True)
class Cell:
    """Number of images of one class predicted as another, and their share of the class."""

    images: int
    share: float


@dataclass(frozen=True)
class Pair:
    """Two classes that are taken for each other, both ways.

    Attributes:
        first: a class.
        second: another class.
        mistakes: number of images of one that are predicted as the other.
        images: number of images of both.
    """

    first: str
    second: str
    mistakes: int
    images: int


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix for the report.

    Attributes:
        names: the classes shown.
        classes: number of all classes.
        rows: cells, row by row; empty if the matrix is shown as a picture.
        picture: a data URI with one pixel per cell; empty if the matrix is shown as a table.
        pairs: the pairs of classes with the most mistakes between them.
        errors_only: whether classes without mistakes are left out.
    """

    names: list[str]
    classes: int
    rows: list[list[Cell]]
    picture: str
    pairs: list[Pair]
    errors_only: bool

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


def confusion_matrix(confusion: Tensor, class_names: list[str], errors_only: bool = True) -> Matrix:
    """Prepare a confusion matrix for the report.

    Args:
        confusion: number of images (K, K), with a row per true class and a column per predicted
            class.
        class_names: in the order of the matrix.
        errors_only: leave out the classes that are never mistaken for another, nor another for
            them.
    """
    counts = confusion.numpy()
    wrong = counts - np.diag(counts.diagonal())
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    mistakes = wrong.sum(1) + wrong.sum(0)
    shown = np.flatnonzero(mistakes) if errors_only else np.arange(len(counts))
    if len(shown) > MAX_IN_PICTURE:
        shown = np.sort(np.argsort(-mistakes, kind="stable")[:MAX_IN_PICTURE])
    inside = np.ix_(shown, shown)
    rows, picture = [], ""
    if len(shown) <= MAX_IN_TABLE:
        rows = [
            [Cell(int(n), float(s)) for n, s in zip(*row, strict=True)]
            for row in zip(counts[inside], shares[inside], strict=True)
        ]
    else:
        picture = png_uri(shares[inside])
    names = [class_names[k] for k in shown]
    pairs = pairs_of(counts, class_names)
    return Matrix(names, len(counts), rows, picture, pairs, errors_only)


def pairs_of(counts: np.ndarray, class_names: list[str]) -> list[Pair]:
    """The pairs of classes that are taken for each other, the most mistakes first.

    >>> pairs_of(np.array([[8, 2], [1, 9]]), ["cat", "dog"])
    [Pair(first='cat', second='dog', mistakes=3, images=20)]
    """
    totals = counts.sum(1)
    both = np.triu(counts + counts.T, 1)
    cells = sorted(zip(*np.nonzero(both), strict=True), key=lambda cell: -both[cell])
    return [
        Pair(class_names[k], class_names[m], int(both[k, m]), int(totals[k] + totals[m]))
        for k, m in cells
    ]


def png_uri(shares: np.ndarray) -> str:
    """Shares in [0, 1] as a PNG data URI, transparent where the share is 0.

    Right answers and errors differ in color.

    The opacity is the square root of the share, so that rare confusions are visible.
    """
    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3] = WRONG
    pixels[np.arange(len(shares)), np.arange(len(shares)), :3] = RIGHT
    pixels[..., 3] = np.sqrt(shares) * 255
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "png")
