"""Read image files, in the same way for training, prediction and explanation.

Reads JPEG, PNG, WebP, BMP, TIFF and GIF, and of several frames the first. Any file gives either an
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

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
# Pillow reads many more, some of which start other programs (EPS) or are rarely tested.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
MAX_PIXELS = 89_478_485  # decoded; above this Pillow, too, warns of a decompression bomb
TOO_LARGE = f"more than {MAX_PIXELS // 10**6} million pixels, which is the limit."
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
LARGE = 2**24  # decoded pixels; above this only one image is decoded at a time
DRAFT_SCALE = 2  # a JPEG decoded at twice the needed size looks like one decoded at full size

BLOCK = 2**20  # pixels whose contrast is stretched at once
_one_large_image = threading.Lock()

# Pillow warns of defects in files that it can still read. The filter is set once: before Python
# 3.14, temporary filters (catch_warnings) affect other threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


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
        with Image.open(path, formats=FORMATS) as file:
            yield file
    except UnidentifiedImageError as error:
        raise OSError(f"{path} is not an image in a supported format, or it is damaged.") from error
    except Image.DecompressionBombError as error:  # raised by the header, before decoding
        raise OSError(f"{path}: the image has {TOO_LARGE}") from error
    # Catching every exception is right here, and only here: on damaged files Pillow and the
    # libraries below it raise OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error,
    # zlib.error, MemoryError, RecursionError and more, and the list grows with its releases.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise OSError(f"{path}: {reason or first_line(error)}") from error


def open_image(path: str | Path, side: int | None = None) -> Image.Image:
    """Read an image file as upright RGB; `as_rgb` describes how other modes are converted.

    Args:
        path: the file.
        side: the pixels per side that are needed; a much larger JPEG is decoded at a half, a
            quarter or an eighth of its size, in less time and memory. None decodes at full size.

    Raises:
        OSError: the file is not a readable image, or too large; the message names it.
    """
    with open_header(path) as file:
        if side is not None:
            file.draft(None, (DRAFT_SCALE * side, DRAFT_SCALE * side))
        width, height = file.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width}x{height} is {TOO_LARGE}")
        with _one_large_image if width * height > LARGE else nullcontext():
            file.load()  # Pillow rotates TIFFs upright by itself, and then updates their EXIF data
            return upright(as_rgb(file), read_orientation(file))


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to RGB.

    Transparent parts are blended with white. In 16-bit images 65535 is white. 32-bit and float
    grayscale images have no standard white: the darkest pixel becomes black, the lightest white.

    >>> as_rgb(Image.new("I;16", (1, 1), 257 * 128)).getpixel((0, 0))
    (128, 128, 128)
    >>> as_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    >>> [as_rgb(Image.fromarray(np.float32([[-1, 0, 3]]))).getpixel((x, 0))[0] for x in range(3)]
    [0, 64, 255]
    """
    if image.mode.startswith("I;16"):
        return gray_to_rgb(np.asarray(image, dtype=np.float32) / np.float32(257))
    if image.mode in ("I", "F"):
        return Image.fromarray(stretch_contrast(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    return image.convert("RGB")


def gray_to_rgb(gray: np.ndarray) -> Image.Image:
    """Convert gray values from 0 to 255, of any type, to an RGB image."""
    return Image.fromarray(np.rint(gray).astype(np.uint8)).convert("RGB")


def stretch_contrast(gray: np.ndarray) -> np.ndarray:
    """Scale gray values linearly to bytes from 0 to 255; NaN and infinity become black.

    It works on some rows at a time, so that a large image takes little more than its pixels.

    >>> stretch_contrast(np.array([[2.0, 4.0, np.nan, 3.0]])).tolist()
    [[0, 255, 0, 128]]
    """
    low, high = value_range(gray)
    scale = 255 / (high - low) if high > low else 0.0
    stretched = np.zeros(gray.shape, np.uint8)
    for rows in row_blocks(gray):
        finite = np.isfinite(gray[rows])
        scaled = np.where(finite, gray[rows], low).astype(np.float64) - low
        stretched[rows] = np.rint(scaled * scale) * finite
    return stretched


def value_range(gray: np.ndarray) -> tuple[float, float]:
    """The least and the greatest finite value; 0 and 0 if there is none.

    >>> value_range(np.array([[2.0, np.inf, -1.0]]))
    (-1.0, 2.0)
    """
    finite = (gray[rows][np.isfinite(gray[rows])] for rows in row_blocks(gray))
    values = [(float(part.min()), float(part.max())) for part in finite if part.size]
    if not values:
        return 0.0, 0.0
    return min(low for low, _ in values), max(high for _, high in values)


def row_blocks(gray: np.ndarray) -> Iterator[slice]:
    """Slices of rows with about a million pixels each."""
    step = max(BLOCK // max(gray.shape[1], 1), 1)
    for start in range(0, len(gray), step):
        yield slice(start, start + step)


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


def read_image(path: str | Path, size: int) -> Tensor:
    """Read an image file as the model's input, uint8 (3, size, size).

    Raises:
        OSError: the file is not a readable image; the message names it.
    """
    return to_tensor(open_image(path, size), size)


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
