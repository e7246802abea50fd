"""Prefetch images for prediction: read files or images in memory ahead of the model, in batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.core.parallel import threaded_map
from vision_attn.data.io.formats import DEEP_ENDINGS
from vision_attn.data.io.gray_range import GrayRange, is_16_bit, is_deep
from vision_attn.data.io.image import (
    open_header,
    open_image,
    to_tensor,
    upright_rgb,
)

DARK, MOST_WHITE = 16, 0.5  # brightest value of 255, and share of white pixels, that raise doubt

ImageInput = Path | Image.Image | NDArray[np.uint8]
"""An image: a file, a PIL image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4)."""


@dataclass(frozen=True)
class ReadImage:
    """An image that was read, or the reason why it could not be read.

    Attributes:
        path: the file; `image-1`, `image-2` and so on for images in memory.
        source: the file or the image in memory, to read it again at another size.
        pixels: the model's input, uint8 (3, size, size); None if it could not be read.
        error: why the image could not be read, in one line with its name; None if it was read.
        doubt: why it may look different from the training images; None if there is no doubt.
    """

    path: Path
    source: Path | Image.Image
    pixels: Tensor | None
    error: str | None = None
    doubt: str | None = None

    @property
    def in_memory(self) -> Image.Image | None:
        """The PIL image; None if the source is a file."""
        return None if isinstance(self.source, Path) else self.source


def read_image(
    path: Path, source: ImageInput, size: int, gray_range: GrayRange | None = None
) -> ReadImage:
    """Read one image at the model's size; see `as_rgb` for `gray_range`."""
    image = source if isinstance(source, Path) else as_pil(source, path)
    try:
        pixels = to_tensor(full_size(image, size, gray_range), size)
        return ReadImage(path, image, pixels, doubt=doubt_on_gray(image, pixels, gray_range))
    except OSError as error:
        return ReadImage(path, image, None, str(error))


def doubt_on_gray(
    source: Path | Image.Image, pixels: Tensor, gray_range: GrayRange | None
) -> str | None:
    """Why grayscale of more than 8 bits may look different from the training images, else None.

    Args:
        source: the image.
        pixels: what was read, uint8 (3, H, W).
        gray_range: the range of the training images; None if they had no such grayscale.
    """
    if isinstance(source, Path):
        if source.suffix.lower() not in DEEP_ENDINGS:
            return None
        with open_header(source) as file:
            mode = file.mode
    else:
        mode = source.mode
    if not is_deep(mode):
        return None
    if gray_range is None:
        white = "65535" if is_16_bit(mode) else "its lightest pixel"
        return f"has more than 8 bits, unlike the training images; {white} is read as white"
    if (pixels == 255).float().mean() > MOST_WHITE:
        return f"is white on more than half of its area: most values are above {gray_range.white:g}"
    if pixels.max() < DARK:
        return f"is nearly black: all values are far below {gray_range.white:g}"
    return None


def full_size(
    source: Path | Image.Image, size: int | None = None, gray_range: GrayRange | None = None
) -> Image.Image:
    """An image as upright RGB at full size; see `open_image` for `size` and `gray_range`."""
    if isinstance(source, Path):
        return open_image(source, size, gray_range)
    return upright_rgb(source, gray_range)


def as_pil(source: Image.Image | NDArray[np.uint8], name: Path) -> Image.Image:
    """Convert an image in memory to a PIL image.

    Raises:
        UserError: an array has an unsupported type or shape.
    """
    if isinstance(source, Image.Image):
        return source
    shape, dtype = np.shape(source), getattr(source, "dtype", None)
    valid_shape = len(shape) == 2 or (len(shape) == 3 and shape[-1] in (3, 4))
    if dtype != np.uint8 or not valid_shape:
        raise UserError(
            f"{name}: an array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), "
            f"not {dtype} of shape {shape}."
        )
    return Image.fromarray(source)


def with_paths(images: Iterable[ImageInput]) -> Iterator[tuple[Path, ImageInput]]:
    """Pair images with paths; images in memory are named `image-1`, `image-2` and so on."""
    numbers = count(1)
    for image in images:
        yield image if isinstance(image, Path) else Path(f"image-{next(numbers)}"), image


def read_ahead(
    images: Iterable[ImageInput], size: int, ahead: int, gray_range: GrayRange | None = None
) -> Iterator[ReadImage]:
    """Read images in their order; at most `ahead` of them are read before they are consumed.

    >>> [image.error for image in read_ahead([Path("none.png")], size=32, ahead=4)]
    ['none.png: there is no such file.']
    """
    return threaded_map(lambda item: read_image(*item, size, gray_range), with_paths(images), ahead)


def in_batches(images: Iterator[ReadImage], batch_size: int) -> Iterator[list[ReadImage]]:
    """Group images into lists of `batch_size`; the last one may be shorter."""
    while batch := list(islice(images, batch_size)):
        yield batch
