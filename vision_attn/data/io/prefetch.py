"""Read images for prediction: files or images in memory, ahead of the model, in batches."""

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
from vision_attn.data.io.image import as_rgb, open_image, orientation, to_tensor, upright

ImageInput = Path | Image.Image | NDArray[np.uint8]
"""An image: its file, a PIL image, or bytes (H, W), (H, W, 3) or (H, W, 4)."""


@dataclass(frozen=True)
class ReadImage:
    """An image that was read, or could not be.

    Attributes:
        path: the file; `image-1`, `image-2` and so on for images in memory.
        source: the file or the image in memory, from which it can be read at another size.
        pixels: uint8 (3, size, size), as the model sees it; None if it could not be read.
        error: why it could not be read, in one line that names it.
    """

    path: Path
    source: Path | Image.Image
    pixels: Tensor | None
    error: str | None = None

    @property
    def in_memory(self) -> Image.Image | None:
        """The image, if it is not a file."""
        return None if isinstance(self.source, Path) else self.source


def read_image(path: Path, source: ImageInput, size: int) -> ReadImage:
    """Read one image at the model's size."""
    image = source if isinstance(source, Path) else as_pil(source, path)
    try:
        return ReadImage(path, image, to_tensor(full_size(image, size), size))
    except OSError as error:
        return ReadImage(path, image, None, str(error))


def full_size(source: Path | Image.Image, size: int | None = None) -> Image.Image:
    """An image as upright RGB; see `open_image` for `size`."""
    if isinstance(source, Path):
        return open_image(source, size)
    return upright(as_rgb(source), orientation(source))


def as_pil(source: Image.Image | NDArray[np.uint8], name: Path) -> Image.Image:
    """An image in memory as a PIL image.

    Raises:
        UserError: an array has another type or shape.
    """
    if isinstance(source, Image.Image):
        return source
    shape, kind = np.shape(source), getattr(source, "dtype", None)
    fits = len(shape) == 2 or (len(shape) == 3 and shape[-1] in (3, 4))
    if kind != np.uint8 or not fits:
        raise UserError(
            f"{name}: an array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), "
            f"not {kind} of shape {shape}."
        )
    return Image.fromarray(source)


def named(images: Iterable[ImageInput]) -> Iterator[tuple[Path, ImageInput]]:
    """Images with their paths; those in memory are called `image-1`, `image-2` and so on."""
    numbers = count(1)
    for image in images:
        yield image if isinstance(image, Path) else Path(f"image-{next(numbers)}"), image


def read_ahead(images: Iterable[ImageInput], size: int, ahead: int) -> Iterator[ReadImage]:
    """Images in their order; at most `ahead` of them are read and not yet taken.

    >>> [image.error for image in read_ahead([Path("none.png")], size=32, ahead=4)]
    ['none.png: there is no such file.']
    """
    return threaded_map(lambda item: read_image(*item, size), named(images), ahead)


def in_batches(images: Iterator[ReadImage], batch_size: int) -> Iterator[list[ReadImage]]:
    """Lists of `batch_size` images; the last one may be shorter."""
    while batch := list(islice(images, batch_size)):
        yield batch
