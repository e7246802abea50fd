"""Read image files, in the same way for training, prediction and explanation.

Reads the formats in `formats.py`, and of several frames the first. Any file gives either an
upright RGB image or an `OSError` that names the file.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vision_attn.core.errors import first_line
from vision_attn.data.io.formats import FORMATS, register_heif
from vision_attn.data.io.gray_range import GrayRange, is_deep, range_of_image, row_blocks
from vision_attn.data.io.tiff import describe_tiff, is_inverted, refuse_misread, with_true_values

MAX_PIXELS = 89_478_485  # decoded; above this Pillow, too, warns of a decompression bomb
MAX_SIDE = 2**20  # pixels; Pillow resizes with tables of 32 bytes per pixel of a side
TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels, which is the limit."
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
LARGE = 2**24  # decoded pixels; above this only one image is decoded at a time
DRAFT_SCALE = 2  # a JPEG decoded at twice the needed size looks like one decoded at full size

_one_large_image = threading.Lock()

# Pillow warns of defects in files that it can still read. The filter is set once: before Python
# 3.14, temporary filters (catch_warnings) affect other threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
register_heif()


@contextmanager
def open_header(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file and read its header only; no pixel is decoded yet.

    Raises:
        OSError: the file is not an image, or an operation on it inside the `with` block fails; the
            message is one line that names the file.
    """
    try:
        if not Path(path).is_file():  # opening a pipe would block forever
            raise FileNotFoundError("there is no such file.")
        # By its name, Pillow maps an uncompressed TIFF into memory with the turned size: its rows
        # come out scrambled if its orientation swaps width and height.
        with Path(path).open("rb") as stream, Image.open(stream, formats=FORMATS) as file:
            yield file
    except UnidentifiedImageError as error:
        with Path(path).open("rb") as stream:
            tiff = describe_tiff(stream)
        unknown = " is not an image in a supported format, or it is damaged."
        raise OSError(f"{path}{f': {tiff}' if tiff else unknown}") from error
    except Image.DecompressionBombError as error:  # raised by the header, before decoding
        raise OSError(f"{path}: the image has {TOO_LARGE}") from error
    # Catching every exception is right here, and only here: on damaged files Pillow and the
    # libraries below it raise OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error,
    # zlib.error, MemoryError, RecursionError and more, and the list grows with its releases.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise OSError(f"{path}: {reason or first_line(error)}") from error


def open_image(
    path: str | Path, side: int | None = None, gray_range: GrayRange | None = None
) -> Image.Image:
    """Read an image file as upright RGB; `as_rgb` describes how other modes are converted.

    Args:
        path: the file.
        side: the pixels per side that are needed; a much larger JPEG is decoded at a half, a
            quarter or an eighth of its size, in less time and memory. None decodes at full size.
        gray_range: see `as_rgb`.

    Raises:
        OSError: the file is not a readable image, or too large; the message names it.
    """
    with open_header(path) as file:
        if side is not None:
            file.draft(None, (DRAFT_SCALE * side, DRAFT_SCALE * side))
        width, height = file.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width}x{height} is {TOO_LARGE}")
        if max(width, height) > MAX_SIDE:
            raise ValueError(f"{width}x{height} has a side of more than {MAX_SIDE:,} pixels.")
        with _one_large_image if width * height > LARGE else nullcontext():
            refuse_misread(file)
            file.load()  # Pillow rotates TIFFs upright by itself, and then updates their EXIF data
            return upright_rgb(file, gray_range)


def upright_rgb(file: Image.Image, gray_range: GrayRange | None = None) -> Image.Image:
    """Convert an opened image to upright RGB: the values that its file means, then `as_rgb`."""
    rgb = as_rgb(with_true_values(file), gray_range)
    if is_inverted(file):
        rgb = ImageOps.invert(rgb)
    return upright(rgb, read_orientation(file))


def as_rgb(image: Image.Image, gray_range: GrayRange | None = None) -> Image.Image:
    """Convert an image of any Pillow mode to RGB; transparent parts are blended with white.

    Args:
        image: the image.
        gray_range: which values are black and white in grayscale of more than 8 bits; None takes
            65535 as white in 16 bits, and else the lightest pixel as white, the darkest as black.

    >>> as_rgb(Image.new("I;16", (1, 1), 257 * 128)).getpixel((0, 0))
    (128, 128, 128)
    >>> as_rgb(Image.new("I;16", (1, 1), 4095), GrayRange(0, 4095)).getpixel((0, 0))
    (255, 255, 255)
    >>> as_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    >>> [as_rgb(Image.fromarray(np.float32([[-1, 0, 3]]))).getpixel((x, 0))[0] for x in range(3)]
    [0, 64, 255]
    """
    if is_deep(image.mode):
        return deep_to_rgb(image, gray_range or range_of_image(image))
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    return image.convert("RGB")


def deep_to_rgb(image: Image.Image, gray_range: GrayRange) -> Image.Image:
    """Convert a grayscale image of more than 8 bits to RGB, some rows at a time.

    So a large image takes eight bytes per pixel: four of its own, and four of the RGB image.
    """
    rgb = Image.new("RGB", image.size)
    for box, gray in row_blocks(image):
        rgb.paste(Image.fromarray(gray_range.to_bytes(gray)), box)
    return rgb


def read_orientation(file: Image.Image) -> int | None:
    """The EXIF orientation of an image (1 to 8), from EXIF or XMP; None if there is none."""
    try:
        orientation = file.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as in `open_header`; damaged metadata does not make an image unreadable
        return None
    return orientation if isinstance(orientation, int) else None


def upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """Rotate and flip an image according to its EXIF orientation (1 to 8)."""
    if orientation is None:
        return image
    image.info.clear()  # Pillow would rewrite the other metadata, which may be damaged
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def upright_size(path: str | Path) -> tuple[int, int]:
    """Width and height of an image after its EXIF orientation is applied.

    Raises:
        OSError: the file is not a readable image; the message names it.
    """
    (width, height), orientation = stored_size(path)
    return (height, width) if orientation in SIDEWAYS else (width, height)


def stored_size(path: str | Path) -> tuple[tuple[int, int], int | None]:
    """Width and height as stored in the file, and the EXIF orientation.

    Raises:
        OSError: the file is not a readable image; the message names it.
    """
    with open_header(path) as file:
        (width, height), orientation = file.size, read_orientation(file)
        # Of a TIFF, Pillow returns the upright size.
        if file.format == "TIFF" and orientation in SIDEWAYS:
            width, height = height, width
        return (width, height), orientation


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """Resize an RGB image to size x size, uint8 (3, size, size).

    The aspect ratio is not kept and nothing is cropped, so a heatmap of the square covers the
    entire image.
    """
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def read_image(path: str | Path, size: int, gray_range: GrayRange | None = None) -> Tensor:
    """Read an image file as the model's input, uint8 (3, size, size); see `as_rgb`.

    Raises:
        OSError: the file is not a readable image; the message names it.
    """
    return to_tensor(open_image(path, size, gray_range), size)


def is_readable(path: str | Path) -> bool:
    """Whether a file has the header of an image. Fast: no pixel is decoded."""
    try:
        with open_header(path):
            return True
    except OSError:
        return False


def to_unit_range(images: Tensor) -> Tensor:
    """Convert uint8 images (0 to 255) to float32 in [0, 1].

    >>> to_unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    return images.float() / 255
