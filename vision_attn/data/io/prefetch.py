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
from vision_attn.data.io.image import as_rgb, open_image, read_orientation, to_tensor, upright

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
    """

    path: Path
    source: Path | Image.Image
    pixels: Tensor | None
    error: str | None = None

    @property
    def in_memory(self) -> Image.Image | None:
        """The PIL image; None if the source is a file."""
        return None if isinstance(self.source, Path) else self.source


def read_image(path: Path, source: ImageInput, size: int) -> ReadImage:
    """Read one image at the model's size."""
    image = source if isinstance(source, Path) else as_pil(source, path)
    try:
        return ReadImage(path, image, to_tensor(full_size(image, size), size))
    except OSError as error:
        return ReadImage(path, image, None, str(error))


def full_size(source: Path | Image.Image, size: int | None = None) -> Image.Image:
    """An image as upright RGB at full size; see `open_image` for `size`."""
    if isinstance(source, Path):
        return open_image(source, size)
    return upright(as_rgb(source), read_orientation(source))


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


def read_ahead(images: Iterable[ImageInput], size: int, ahead: int) -> Iterator[ReadImage]:
    """Read images in their order; at most `ahead` of them are read before they are consumed.

    >>> [image.error for image in read_ahead([Path("none.png")], size=32, ahead=4)]
    ['none.png: there is no such file.']
    """
    return threaded_map(lambda item: read_image(*item, size), with_paths(images), ahead)


def in_batches(images: Iterator[ReadImage], batch_size: int) -> Iterator[list[ReadImage]]:
    """Group images into lists of `batch_size`; the last one may be shorter."""
    while batch := list(islice(images, batch_size)):
        yield batch
