"""The images of one split (train, val or test), which are not read yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """The images of one split, not yet read.

    Attributes:
        names: what to call each image in a message or a manifest (a path, or a made-up name).
        labels: the class name of each image.
        read: index and size to the image, uint8 (3, size, size); `OSError` if it can't be read.
        read_mask: index and size to where the object is, bool (size, size), if that is known.
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
        """The split of those images alone."""
        chosen = indices.tolist()
        mask = self.read_mask
        return replace(
            self,
            names=[self.names[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            read=lambda index, size: self.read(chosen[index], size),
            read_mask=None if mask is None else lambda index, size: mask(chosen[index], size),
        )
