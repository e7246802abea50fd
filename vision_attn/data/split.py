"""One split (train, val or test) of a data set: file names, labels, and how to read the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vision_attn.data.io.gray_range import GrayRange


@dataclass(frozen=True)
class Split:
    """The images of one split, which are read on demand.

    It can be pickled if its readers can, for worker processes that are spawned instead of forked:
    readers are therefore small classes, not functions inside functions.

    Attributes:
        names: the name of each image in messages and tables (a path, or a generated name).
        labels: the class name of each image.
        read: maps index and size to the image, uint8 (3, size, size); raises `OSError` if it
            cannot be read.
        read_mask: maps index and size to the object mask, bool (size, size); None if there are no
            masks.
        are_files: whether the names are paths of image files.
        gray_range: which values `read` takes as black and white in grayscale of more than 8 bits.
    """

    names: Sequence[str]
    labels: Sequence[str]
    read: Callable[[int, int], Tensor]
    read_mask: Callable[[int, int], Tensor] | None = None
    are_files: bool = False
    gray_range: GrayRange | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """The subset of the images at these indices."""
        chosen = indices.tolist()
        mask = self.read_mask
        return replace(
            self,
            names=[self.names[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            read=AtIndices(self.read, chosen),
            read_mask=None if mask is None else AtIndices(mask, chosen),
        )


@dataclass(frozen=True)
class AtIndices:
    """Reads only the images (or masks) at the given indices of a split, numbered anew.

    >>> AtIndices(lambda index, size: index, [7, 5])(1, 32)
    5
    """

    read: Callable[[int, int], Tensor]
    indices: Sequence[int]

    def __call__(self, index: int, size: int) -> Tensor:
        """The image, or the mask, with an index among the chosen ones."""
        return self.read(self.indices[index], size)


def joined(first: Split, second: Split) -> Split:
    """Two splits of the same source as one, in the order of their names.

    >>> def named(*names: str) -> Split:
    ...     return Split(names, [name.upper() for name in names], lambda index, size: names[index])
    >>> both = joined(named("b", "d"), named("a", "c"))
    >>> both.names, both.labels, [both.read(index, 8) for index in range(4)]
    (['a', 'b', 'c', 'd'], ['A', 'B', 'C', 'D'], ['a', 'b', 'c', 'd'])
    """
    labels = [*first.labels, *second.labels]
    names = [*first.names, *second.names]
    order = sorted(range(len(names)), key=names.__getitem__)
    places = [(part, index) for part in (first, second) for index in range(len(part))]
    both = Places([places[position] for position in order])
    return Split(
        [names[position] for position in order],
        [labels[position] for position in order],
        both.read,
        both.read_mask if first.read_mask and second.read_mask else None,
        first.are_files and second.are_files,
        first.gray_range,
    )


@dataclass(frozen=True)
class Places:
    """Reads images that are at the given places (a split and an index in it)."""

    places: Sequence[tuple[Split, int]]

    def read(self, index: int, size: int) -> Tensor:
        """The image, as `Split.read` returns it."""
        split, place = self.places[index]
        return split.read(place, size)

    def read_mask(self, index: int, size: int) -> Tensor:
        """The object mask, as `Split.read_mask` returns it."""
        split, place = self.places[index]
        assert split.read_mask is not None
        return split.read_mask(place, size)
