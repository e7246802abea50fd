"""Decodes the images of a split once, in several threads."""

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import NamedTuple

import torch
from rich.progress import track
from torch import Tensor

from vision_attn.data.split import Split


class Decoded(NamedTuple):
    """Images of a split, and why some could not be read.

    Attributes:
        images: uint8 (N, 3, size, size); those that could not be read are of no use.
        unreadable: reasons by the number of the image.
    """

    images: Tensor
    unreadable: dict[int, str]


def decode(split: Split, size: int, title: str) -> Iterator[Tensor | None]:
    """The images of a split in their order, uint8 (3, size, size); None where one is unreadable."""

    def read(index: int) -> Tensor | None:
        try:
            return split.read(index, size)
        except OSError:
            return None

    show = sys.stderr.isatty() and len(split) > 500
    pool = ThreadPoolExecutor(cpu_count())
    try:
        decoded = pool.map(read, range(len(split)))
        yield from track(decoded, title, total=len(split), disable=not show, transient=True)
    finally:  # also where the one who takes them stops early, as on a full disk
        pool.shutdown(cancel_futures=True)


def in_memory(split: Split, size: int, title: str) -> Decoded:
    """All images of a split in memory."""
    images = torch.empty(len(split), 3, size, size, dtype=torch.uint8)
    missing = []
    for index, image in enumerate(decode(split, size, title)):
        if image is None:
            missing.append(index)
        else:
            images[index] = image
    return read_again(images, missing, split, size)


def read_again(images: Tensor, missing: Iterable[int], split: Split, size: int) -> Decoded:
    """Read those images that could not be read, to learn why; one that can be by now is taken."""
    unreadable = {}
    for index in missing:
        try:
            images[index] = split.read(index, size)
        except OSError as error:
            unreadable[index] = str(error)
    return Decoded(images, unreadable)
