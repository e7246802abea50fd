"""Reads an image and keeps of it what checks need: a hundred bytes, no pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from vision_attn.data.io.image import open_image

SIDE = 9  # places a side of a thumbnail
FLAT = 4  # of 255: an image whose channels vary no more has one colour
GREYNESS = 2  # of 255: channels that differ no more are grey; JPEG rounds


@dataclass(frozen=True, slots=True)
class ImageStats:
    """What was learnt of one image file.

    Attributes:
        trouble: why the reader could not read it; then the rest is unknown.
        format: Pillow's name of the file's format.
        mode: Pillow's name of how its pixels are stored.
        size: width and height in pixels, upright.
        one_colour: whether there is nothing in it.
        grey: whether its channels are equal.
        thumbnail: 9x9 bytes of grey, row by row.
    """

    problem: str | None = None
    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    single_color: bool = False
    gray: bool = False
    thumbnail: bytes = b""


def image_stats(path: str) -> ImageStats:
    """Read one file as training would, so that what is told here is what happens there."""
    try:
        if Path(path).stat().st_size == 0:
            return ImageStats(problem="is empty: 0 bytes")
        image = open_image(path)
    except OSError as error:
        return ImageStats(problem=str(error).removeprefix(path).strip(": ."))
    file_format, mode = header(path)
    # Boxes would jump by whole pixels, and a smaller copy would look another image.
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return ImageStats(
        format=file_format,
        mode=mode,
        size=image.size,
        single_color=all(high - low <= FLAT for low, high in bands(image)),
        gray=is_gray(small) and is_gray(image),
        thumbnail=small.convert("L").tobytes(),
    )


def header(path: str) -> tuple[str, str]:
    """Format and mode of a file that was read; unknown where Pillow finds it too large to open."""
    try:
        with Image.open(path) as file:
            return file.format or "", file.mode
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "", ""


def bands(image: Image.Image) -> Iterator[tuple[int, int]]:
    """Least and greatest value of each channel."""
    return (band.getextrema() for band in image.split())  # type: ignore[misc]  # bytes: two ints


def is_gray(image: Image.Image) -> bool:
    """Whether an RGB image's channels are equal, but for rounding."""
    red, green, blue = image.split()
    return all(
        ImageChops.difference(one, other).getextrema()[1] <= GREYNESS  # type: ignore[operator]
        for one, other in ((red, green), (green, blue))
    )
