"""One reader of image files for training, prediction and explanation, so that they agree.

JPEG, PNG, WebP, BMP, TIFF and GIF; of several frames, the first. Whatever a file holds, it becomes
an upright RGB image or one `OSError` that names the file.
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
# Pillow knows many more, some of which start other programs (EPS) or are rarely tested.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
MOST_PIXELS = 89_478_485  # decoded; from here on Pillow suspects a decompression bomb, too
TOO_MANY = f"are more than the {MOST_PIXELS // 10**6} million that are read."
SIDEWAYS = (5, 6, 7, 8)  # orientations whose width is the height
LARGE = 2**24  # decoded pixels, from which on only one image is decoded at a time
MARGIN = 2  # an image decoded at twice the size that is needed looks as if decoded whole

_one_large_image = threading.Lock()

# What Pillow doubts in a file it still reads. Set once: before Python 3.14, filters that are set
# for a while (catch_warnings) reach into other threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """An image file of which only the head is read so far.

    Raises:
        OSError: the file is no image, or what is done with it fails; one line that names it.
    """
    try:
        if not Path(path).is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError("there is no such file.")
        with Image.open(path, formats=FORMATS) as file:
            yield file
    except UnidentifiedImageError as error:
        raise OSError(f"{path} is no image of a kind that is read, or is damaged.") from error
    except Image.DecompressionBombError as error:  # told by the head, before a pixel is decoded
        raise OSError(f"{path}: its pixels {TOO_MANY}") from error
    # The one place where a broad class is right: on damaged files Pillow and the libraries under
    # it raise OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error, zlib.error,
    # MemoryError, RecursionError and more, and the list grows with its releases.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise OSError(f"{path}: {reason or first_line(error)}") from error


def open_image(path: str | Path, side: int | None = None) -> Image.Image:
    """An image file as upright RGB; see `as_rgb` for what becomes of other modes.

    Args:
        path: the file.
        side: the pixels a side that are needed; a JPEG that is much larger is decoded at a half,
            a quarter or an eighth of its size, in less time and memory. None decodes all.

    Raises:
        OSError: the file is no image that can be read, or too large; the message names it.
    """
    with opened(path) as file:
        if side is not None:
            file.draft(None, (MARGIN * side, MARGIN * side))
        width, height = file.size
        if width * height > MOST_PIXELS:
            raise ValueError(f"{width}x{height} pixels {TOO_MANY}")
        with _one_large_image if width * height > LARGE else nullcontext():
            file.load()  # Pillow turns TIFFs upright by itself, and then says so in their notes
            return upright(as_rgb(file), orientation(file))


def as_rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as RGB.

    Transparent parts are laid over white. Of 16 bits, 65535 is white. Greys of 32 bits and floats
    have no agreed white: the darkest is made black and the lightest white.

    >>> as_rgb(Image.new("I;16", (1, 1), 257 * 128)).getpixel((0, 0))
    (128, 128, 128)
    >>> as_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    >>> [as_rgb(Image.fromarray(np.float32([[-1, 0, 3]]))).getpixel((x, 0))[0] for x in range(3)]
    [0, 64, 255]
    """
    if image.mode.startswith("I;16"):
        return from_grey(np.asarray(image, dtype=np.float32) / np.float32(257))
    if image.mode in ("I", "F"):
        return from_grey(stretched(np.asarray(image)))
    if image.has_transparency_data:
        clear = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(clear, mask=clear)
        return white
    return image.convert("RGB")


def from_grey(gray: np.ndarray) -> Image.Image:
    """Greys from 0 to 255, of any precision, as RGB."""
    return Image.fromarray(np.rint(gray).astype(np.uint8)).convert("RGB")


def stretched(gray: np.ndarray) -> np.ndarray:
    """Greys spread from 0 to 255; what is no number is black.

    >>> stretched(np.array([[2.0, 4.0, np.nan, 3.0]])).tolist()
    [[0.0, 255.0, 0.0, 127.5]]
    """
    finite = np.isfinite(gray)
    numbers = gray[finite]
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)
    shown = np.subtract(gray, low, dtype=np.float64)
    shown *= 255 / (high - low) if high > low else 0
    shown[~finite] = 0
    return shown


def orientation(file: Image.Image) -> int | None:
    """How the camera was held, by EXIF or XMP."""
    try:
        turned = file.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as in `opened`; an image does not become unreadable by its notes
        return None
    return turned if isinstance(turned, int) else None


def upright(picture: Image.Image, turned: int | None) -> Image.Image:
    """A picture turned and mirrored as EXIF's orientation (1 to 8) asks for."""
    if turned is None:
        return picture
    picture.info.clear()  # other notes, which Pillow would write anew, may be damaged
    picture.getexif()[ExifTags.Base.Orientation] = turned
    return ImageOps.exif_transpose(picture)


def upright_size(path: str | Path) -> tuple[int, int]:
    """Width and height as the image is seen.

    Raises:
        OSError: the file is no image that can be read; the message names it.
    """
    (width, height), turned = stored_size(path)
    return (height, width) if turned in SIDEWAYS else (width, height)


def stored_size(path: str | Path) -> tuple[tuple[int, int], int | None]:
    """Width and height as they are stored, and the orientation.

    Raises:
        OSError: the file is no image that can be read; the message names it.
    """
    with opened(path) as file:
        (width, height), turned = file.size, orientation(file)
        if file.format == "TIFF" and turned in SIDEWAYS:  # Pillow tells what is seen
            width, height = height, width
        return (width, height), turned


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
    return to_tensor(open_image(path, size), size)


def is_readable(path: str | Path) -> bool:
    """Whether the file's head is that of an image. Cheap: no pixel is decoded."""
    try:
        with opened(path):
            return True
    except OSError:
        return False


def to_unit_range(images: Tensor) -> Tensor:
    """Bytes from 0 to 255 as float32 in [0, 1].

    >>> to_unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    return images.float() / 255
