"""Read many images of a split in several threads, in order; report the unreadable ones."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from vision_attn.core.parallel import AHEAD, threaded_map
from vision_attn.core.terminal import say
from vision_attn.data.split import Split

BYTES_AHEAD = 2**28  # memory for decoded images that wait to be consumed
MIN_AHEAD = 8  # images, however large

Read = tuple[int, Tensor | None, str]
"""An index in the split, its image uint8 (3, size, size) or None, and the error if it is None."""


def read_many(split: Split, indices: Sequence[int], size: int) -> Iterator[Read]:
    """Read the images at these indices, in this order."""

    def read(index: int) -> Read:
        try:
            return index, split.read(index, size), ""
        except OSError as error:
            return index, None, str(error)

    ahead = min(max(BYTES_AHEAD // (3 * size * size), MIN_AHEAD), AHEAD)
    return threaded_map(read, indices, ahead)


def readable(split: Split, indices: Sequence[int], size: int) -> Iterator[tuple[int, Tensor]]:
    """Read the images at these indices; unreadable ones are left out and listed on stderr."""
    for index, image, error in read_many(split, indices, size):
        if image is None:
            say(f"left out, unreadable: {error}", error=True)
        else:
            yield index, image
