"""Shared code of file-based image sources: split names, a split of files, the median size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from vision_attn.data.io.gray_range import GrayRange
from vision_attn.data.io.image import is_readable, open_header, read_image
from vision_attn.data.io.object_masks import ReadMask
from vision_attn.data.split import Split

SPLIT_ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
"""Names of folders, or in tables, that stand for each split."""
SAMPLED_SIZES = 64  # image headers that are read to estimate the median size


def split_of_files(
    paths: Sequence[Path], labels: Sequence[str], truth: ReadMask | None = None
) -> Split:
    """A split of image files, with their object masks if `truth` is given."""
    return Split(
        names=[str(path) for path in paths],
        labels=labels,
        read=FileReader(paths),
        read_mask=None if truth is None else FileMaskReader(paths, truth),
        are_files=True,
    )


@dataclass(frozen=True)
class FileReader:
    """Reads image files by their index.

    Attributes:
        paths: the files.
        gray_range: which values are black and white in grayscale of more than 8 bits.
    """

    paths: Sequence[Path | str]
    gray_range: GrayRange | None = None

    def __call__(self, index: int, size: int) -> Tensor:
        """The image with an index, uint8 (3, size, size)."""
        return read_image(self.paths[index], size, self.gray_range)


@dataclass(frozen=True)
class FileMaskReader:
    """Reads the object masks of image files by their index.

    Attributes:
        paths: the image files.
        masks: maps the path of an image to its mask.
    """

    paths: Sequence[Path]
    masks: ReadMask

    def __call__(self, index: int, size: int) -> Tensor:
        """The mask of the image with an index, bool (size, size)."""
        return self.masks(self.paths[index], size, size)


def with_gray_range(split: Split, gray_range: GrayRange | None) -> Split:
    """The split with another range of grayscale images of more than 8 bits.

    A split whose images are not files is returned as it is.
    """
    if gray_range is None or not split.are_files:
        return split
    return replace(split, read=FileReader(split.names, gray_range), gray_range=gray_range)


def usual_side(paths: list[Path]) -> int:
    """The median shorter side in pixels, of a sample spread evenly over the images."""
    sample = [paths[i] for i in np.linspace(0, len(paths) - 1, SAMPLED_SIZES).astype(int)]
    sides = []
    for path in filter(is_readable, sample):
        with open_header(path) as image:
            sides.append(min(image.size))
    return int(np.median(sides)) if sides else 224
