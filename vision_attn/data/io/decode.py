"""Decode the images of a split into memory, in several threads."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vision_attn.core.progress import progress
from vision_attn.data.io.read_many import read_many
from vision_attn.data.split import Split

MANY = 500  # images; fewer are decoded too fast for a progress bar to be useful


class Decoded(NamedTuple):
    """The decoded images of a split, and the errors of those that could not be read.

    Attributes:
        images: uint8 (N, 3, size, size); undefined where an image could not be read.
        unreadable: the error for each index that could not be read.
    """

    images: Tensor
    unreadable: dict[int, str]


def decode(split: Split, size: int, title: str) -> Iterator[Tensor | None]:
    """Decode the images of a split in order, uint8 (3, size, size); None if unreadable."""
    images = (image for _, image, _ in read_many(split, range(len(split)), size))
    return progress(images, title, len(split)) if len(split) > MANY else images


def in_memory(split: Split, size: int, title: str) -> Decoded:
    """Decode all images of a split into one tensor."""
    images = torch.empty(len(split), 3, size, size, dtype=torch.uint8)
    missing = []
    for index, image in enumerate(decode(split, size, title)):
        if image is None:
            missing.append(index)
        else:
            images[index] = image
    return read_again(images, missing, split, size)


def read_again(images: Tensor, missing: Iterable[int], split: Split, size: int) -> Decoded:
    """Read unreadable images once more, to get their errors; keep those that now succeed."""
    unreadable = {}
    for index in missing:
        try:
            images[index] = split.read(index, size)
        except OSError as error:
            unreadable[index] = str(error)
    return Decoded(images, unreadable)
