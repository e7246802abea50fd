"""One reader of image files for training, prediction and explanation, so that they agree."""

import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


def open_image(path: str | Path) -> Image.Image:
    """An image file as upright RGB, alpha over white, 16-bit greys scaled and not clipped.

    Raises:
        OSError: the file is no image that can be read; the message names it.
    """
    try:
        with warnings.catch_warnings():
            # A file that Pillow calls a decompression bomb is refused, not decoded.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                return as_rgb(ImageOps.exif_transpose(file))
    except UnidentifiedImageError as error:
        raise OSError(f"{path} is no image.") from error
    except (
        OSError,
        ValueError,
        TypeError,
        SyntaxError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise OSError(f"{path}: {str(error) or type(error).__name__}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as RGB.

    >>> as_rgb(Image.new("I;16", (1, 1), 257 * 128)).getpixel((0, 0))
    (128, 128, 128)
    >>> as_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image, dtype=np.float64) / 257  # 65535 is white
        return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """An RGB image brought to size x size, uint8 (3, size, size).

    The whole image is squeezed into the square: nothing is cropped away, so that a map of the
    square is a map of the whole image.
    """
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def read_image(path: str | Path, size: int) -> Tensor:
    """An image file as the model sees it, uint8 (3, size, size).

    Raises:
        OSError: the file is no image that can be read; the message names it.
    """
    return to_tensor(open_image(path), size)


def is_readable(path: str | Path) -> bool:
    """Whether the file's head is that of an image. Cheap: no pixel is decoded."""
    try:
        with Image.open(path):
            return True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
