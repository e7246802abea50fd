"""Read an image and keep only the statistics that checks need: about a hundred bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from vision_attn.data.io.gray_range import GrayRange, is_deep
from vision_attn.data.io.image import open_header, open_image

SIDE = 9  # pixels per side of a thumbnail
FLAT = 4  # of 255: an image has a single color if no channel varies by more
GRAY_TOLERANCE = 2  # of 255: an image is gray if its channels differ by no more; JPEG rounds


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Statistics of one image file.

    Attributes:
        problem: why the file could not be read, or None; if set, the rest is unknown.
        format: Pillow's name of the file format.
        mode: Pillow's name of the pixel mode.
        size: width and height in pixels, after EXIF rotation.
        single_color: whether all pixels have about the same color.
        gray: whether the three channels are equal, up to rounding.
        thumbnail: 9x9 gray values as bytes, row by row.
    """

    problem: str | None = None
    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    single_color: bool = False
    gray: bool = False
    thumbnail: bytes = b""


def image_stats(path: str, gray_range: GrayRange | None = None) -> ImageStats:
    """Statistics of one file, read exactly as training reads it; see `as_rgb` for `gray_range`."""
    try:
        if Path(path).stat().st_size == 0:
            return ImageStats(problem="is empty: 0 bytes")
        image = open_image(path, gray_range=gray_range)
    except OSError as error:
        return ImageStats(problem=str(error).removeprefix(path).strip(": ."))
    file_format, mode = header(path)
    # Not box filters: their edges move by whole pixels, so a smaller copy would look different.
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return ImageStats(
        format=file_format,
        mode=mode,
        size=image.size,
        single_color=is_single_color(path, image) if is_deep(mode) else is_flat(image),
        gray=is_gray(small) and is_gray(image),
        thumbnail=small.convert("L").tobytes(),
    )


def header(path: str) -> tuple[str, str]:
    """Format and pixel mode of a file; empty if Pillow refuses to open it as too large."""
    try:
        with Image.open(path) as file:
            return file.format or "", file.mode
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "", ""


def is_flat(image: Image.Image) -> bool:
    """Whether no channel of an image varies by more than rounding does."""
    return all(high - low <= FLAT for low, high in bands(image))


def is_single_color(path: str, image: Image.Image) -> bool:
    """Whether grayscale of more than 8 bits has a single value in its file.

    Seen as bytes, an image of low contrast looks flat, although its values vary.
    """
    with open_header(path) as file:
        low, high = file.getextrema()
    return is_flat(image) and low == high


def bands(image: Image.Image) -> Iterator[tuple[int, int]]:
    """Minimum and maximum of each channel."""
    return (band.getextrema() for band in image.split())  # type: ignore[misc]  # bytes: two ints


def is_gray(image: Image.Image) -> bool:
    """Whether the channels of an RGB image are equal, up to rounding."""
    red, green, blue = image.split()
    return all(
        ImageChops.difference(first, second).getextrema()[1] <= GRAY_TOLERANCE  # type: ignore[operator]
        for first, second in ((red, green), (green, blue))
    )
