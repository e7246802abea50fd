"""What sources of image files share: names of splits, a split of files, their usual size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vision_attn.data.io.image import is_readable, opened, read_image
from vision_attn.data.io.object_masks import ReadMask
from vision_attn.data.split import Split

USUAL_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
SAMPLED_SIZES = 64  # headers read to learn the usual size


def split_of_files(
    paths: Sequence[Path], labels: Sequence[str], truth: ReadMask | None = None
) -> Split:
    """One split of image files."""
    return Split(
        names=[str(path) for path in paths],
        labels=labels,
        read=lambda index, size: read_image(paths[index], size),
        read_mask=None if truth is None else lambda index, size: truth(paths[index], size, size),
        are_files=True,
    )


def usual_side(paths: list[Path]) -> int:
    """The median shorter side of a spread sample of images, in pixels."""
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, SAMPLED_SIZES).astype(int)]
    sides = []
    for path in filter(is_readable, chosen):
        with opened(path) as image:
            sides.append(min(image.size))
    return int(np.median(sides)) if sides else 224
