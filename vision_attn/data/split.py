"""One split (train, val or test) of a data set: file names, labels, and how to read the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """The images of one split, which are read on demand.

    Attributes:
        names: the name of each image in messages and tables (a path, or a generated name).
        labels: the class name of each image.
        read: maps index and size to the image, uint8 (3, size, size); raises `OSError` if it
            cannot be read.
        read_mask: maps index and size to the object mask, bool (size, size); None if there are no
            masks.
        are_files: whether the names are paths of image files.
    """

    names: Sequence[str]
    labels: Sequence[str]
    read: Callable[[int, int], Tensor]
    read_mask: Callable[[int, int], Tensor] | None = None
    are_files: bool = False

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
            read=lambda index, size: self.read(chosen[index], size),
            read_mask=None if mask is None else lambda index, size: mask(chosen[index], size),
        )
