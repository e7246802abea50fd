"""The confusion matrix: numbers for few classes, a picture that scrolls for many."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

IN_NUMBERS = 20  # classes
IN_A_PICTURE = 200  # classes; of more, those with the most mistakes
CELL = 12  # units of the picture; a name is a little less high
LETTER = 5.6  # width of one, about
LONGEST = 24  # letters of a name beside the picture
PAIRS = 15
COLOUR = (31, 111, 235)  # on white and on black, laid on as thick as the share


@dataclass(frozen=True)
class Cell:
    """How many images of a class were told as another, and which share of the class's."""

    images: int
    share: float


@dataclass(frozen=True)
class Pair:
    """A class that is taken for another, how often, and which share of its images."""

    truth: str
    told: str
    images: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix for the page.

    Attributes:
        names: the classes shown.
        classes: how many there are in all.
        rows: cells, row by row; none where it is shown as a picture.
        picture: a data URI with a pixel a cell; empty where it is shown in numbers.
        pairs: the commonest confusions.
    """

    names: list[str]
    classes: int
    rows: list[list[Cell]]
    picture: str
    pairs: list[Pair]

    @property
    def margin(self) -> float:
        """Room for the names beside the picture."""
        return min(max(len(name) for name in self.names), LONGEST) * LETTER + 8

    @property
    def cell(self) -> int:
        """Height of a line of the picture."""
        return CELL

    @property
    def labels(self) -> list[str]:
        """Names as long as there is room for."""
        return [n if len(n) <= LONGEST else n[: LONGEST - 1] + "…" for n in self.names]


def matrix_of(confusion: Tensor, class_names: list[str]) -> Matrix:
    """The matrix of counts (K, K), true classes down and told classes across."""
    counts = confusion.numpy()
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    shown = np.arange(len(counts))
    if len(counts) > IN_A_PICTURE:
        mistakes = counts.sum(1) - counts.diagonal()
        shown = np.sort(np.argsort(-mistakes, kind="stable")[:IN_A_PICTURE])
    rows, picture = [], ""
    if len(counts) <= IN_NUMBERS:
        rows = [
            [Cell(int(n), float(s)) for n, s in zip(*row, strict=True)]
            for row in zip(counts, shares, strict=True)
        ]
    else:
        picture = png(shares[np.ix_(shown, shown)])
    names = [class_names[k] for k in shown]
    return Matrix(names, len(counts), rows, picture, pairs_of(counts, shares, class_names))


def pairs_of(counts: np.ndarray, shares: np.ndarray, class_names: list[str]) -> list[Pair]:
    """The commonest confusions, most images first.

    >>> counts = np.array([[8, 2], [1, 9]])
    >>> pairs_of(counts, counts / 10, ["cat", "dog"])[0]
    Pair(truth='cat', told='dog', images=2, share=0.2)
    """
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    places = [divmod(place, len(counts)) for place in order.tolist()]
    return [
        Pair(class_names[t], class_names[s], int(wrong[t, s]), float(shares[t, s]))
        for t, s in places
        if wrong[t, s]
    ]


def png(shares: np.ndarray) -> str:
    """Shares between 0 and 1 as a data URI: one colour, see-through where there is nothing.

    The root of the share is shown, so that rare confusions can be seen.
    """
    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3] = COLOUR
    pixels[..., 3] = np.sqrt(shares) * 255
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
