"""Choose which values are black and white in a data set's grayscale images of more than 8 bits."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vision_attn.core.errors import UserError
from vision_attn.core.parallel import threaded_map
from vision_attn.data.io.formats import DEEP_ENDINGS
from vision_attn.data.io.gray_range import (
    GrayRange,
    as_range,
    is_16_bit,
    is_deep,
    range_of_depth,
    range_of_quantiles,
)
from vision_attn.data.io.image import open_header, open_image
from vision_attn.data.io.tiff import with_true_values
from vision_attn.data.sources.files import with_gray_range
from vision_attn.data.split import Split
from vision_attn.data.splits import evenly_spaced

MOST_HEADERS = 20_000
MOST_IMAGES = 500  # whose pixels are read
MOST_PIXELS = 2**16  # of an image that are taken, evenly spaced
DARK = 16  # an upper byte below this: at most 12 of 16 bits are used


class Depth(Enum):
    """How the values of an image are stored, as far as it matters for black and white."""

    USUAL = "8 bits"
    GRAY_16 = "16-bit"
    OTHER_GRAY = "signed, 32-bit or float"
    COLOR_16 = "16-bit color"


class Chosen(NamedTuple):
    """The range of a data set and a line on it; None and "" if it has no such images."""

    gray_range: GrayRange | None
    line: str = ""


def given_range(gray_range: list[float] | None) -> GrayRange | None:
    """The range that is given as a setting.

    Raises:
        UserError: it is not valid.
    """
    try:
        return as_range(gray_range)
    except ValueError as error:
        raise UserError(f"--data.{error}.") from None


def read_alike(
    splits: dict[str, Split], gray_range: GrayRange | None
) -> tuple[dict[str, Split], GrayRange | None, str]:
    """Splits whose images are all read with one range, that range, and a line if it was chosen.

    Args:
        splits: by name.
        gray_range: the range; None chooses by the training images.

    Raises:
        UserError: see `choose_gray_range`.
    """
    first, line = splits.get("train") or next(iter(splits.values()), None), ""
    if gray_range is None and first is not None and first.are_files:
        gray_range, line = choose_gray_range(first.names)
    alike = {name: with_gray_range(split, gray_range) for name, split in splits.items()}
    return alike, gray_range, line


def choose_gray_range(paths: Sequence[str]) -> Chosen:
    """The range of a data set, by up to 500 of its images.

    16-bit images are white at the largest value of the smallest usual depth (8, 10, 12, 14 or 16
    bits) that holds all but one in 10,000 pixels, and black at 0. Images with a sign, of 32 bits or
    of floats are black and white at the quantiles .0001 and .9999 of their values.

    Args:
        paths: the image files.

    Raises:
        UserError: images of both kinds are mixed, or 16-bit color images use 12 bits at most.
    """
    files = [path for path in paths if Path(path).suffix.lower() in DEEP_ENDINGS]
    files = [files[index] for index in evenly_spaced(len(files), MOST_HEADERS)] if files else []
    by_depth: dict[Depth, list[str]] = {depth: [] for depth in Depth}
    for path, depth in zip(files, threaded_map(depth_of, files), strict=True):
        by_depth[depth].append(path)
    refuse_dark_color(by_depth[Depth.COLOR_16])
    refuse_mixture(by_depth[Depth.GRAY_16], by_depth[Depth.OTHER_GRAY])
    if by_depth[Depth.GRAY_16]:
        return chosen(Depth.GRAY_16, some_values(by_depth[Depth.GRAY_16]))
    if by_depth[Depth.OTHER_GRAY]:
        return chosen(Depth.OTHER_GRAY, some_values(by_depth[Depth.OTHER_GRAY]))
    return Chosen(None)


def chosen(depth: Depth, values: np.ndarray) -> Chosen:
    """The range for values of grayscale images, and the line on it.

    >>> chosen(Depth.GRAY_16, np.array([7, 1610], np.uint16)).line
    'in 16-bit grayscale 0 is black and 4095 is white; values are 7 to 1610 (--data.gray_range)'
    """
    choose = range_of_depth if depth is Depth.GRAY_16 else range_of_quantiles
    found = choose(values)
    finite = values[np.isfinite(values)]
    seen = f"{finite.min():g} to {finite.max():g}" if finite.size else "all missing"
    line = (
        f"in {depth.value} grayscale {found.black:g} is black and {found.white:g} is white; "
        f"values are {seen} (--data.gray_range)"
    )
    return Chosen(found, line)


def depth_of(path: str) -> Depth:
    """How the values of a file are stored; an unreadable file is of no interest here."""
    try:
        with open_header(path) as file:
            if is_deep(file.mode):
                return Depth.GRAY_16 if is_16_bit(file.mode) else Depth.OTHER_GRAY
            # The decoders of Pillow that keep the upper byte are called "RGB;16B", "LA;16B", ...
            is_color_16 = any(";16" in str(tile.args) for tile in getattr(file, "tile", ()))
            return Depth.COLOR_16 if is_color_16 else Depth.USUAL
    except OSError:
        return Depth.USUAL


def some_values(paths: Sequence[str]) -> np.ndarray:
    """Up to 65,536 gray values each of up to 500 images, evenly spaced; unreadable ones have none.

    Raises:
        UserError: none of them can be read.
    """
    sample = [paths[index] for index in evenly_spaced(len(paths), MOST_IMAGES)]
    found = [values for values in threaded_map(values_of, sample) if values.size]
    if not found:
        raise UserError(f"none of {len(sample)} images can be read (the first: {sample[0]}).")
    return np.concatenate(found)


def values_of(path: str) -> np.ndarray:
    """Up to 65,536 of an image's gray values, evenly spaced; none if it cannot be read."""
    try:
        with open_header(path) as file:
            file.load()
            values = np.asarray(with_true_values(file)).ravel()
    except OSError:
        return np.empty(0)
    return values[:: max(len(values) // MOST_PIXELS, 1)]


def refuse_mixture(gray_16: Sequence[str], others: Sequence[str]) -> None:
    """Refuse 16-bit images beside others of more than 8 bits, whose values differ in meaning.

    Raises:
        UserError: there are both.
    """
    if gray_16 and others:
        raise UserError(
            f"there are {len(gray_16)} images of 16-bit grayscale ({gray_16[0]}) and "
            f"{len(others)} of {Depth.OTHER_GRAY.value} grayscale ({others[0]}).\n"
            "Say which values are black and white in all: --data.gray_range '[BLACK, WHITE]'."
        )


def refuse_dark_color(paths: Sequence[str]) -> None:
    """Refuse 16-bit color images of which little would be left, since Pillow keeps the upper byte.

    Raises:
        UserError: none of them uses more than 12 bits.
    """
    sample = [paths[index] for index in evenly_spaced(len(paths), MOST_IMAGES)] if paths else []
    if sample and max(threaded_map(brightest, sample)) < DARK:
        raise UserError(
            f"{len(paths)} color images have 16 bits per channel and use 12 of them at most "
            f"({paths[0]}); the upper 8 are read.\nConvert them to 8 bits, or scale them to 65535."
        )


def brightest(path: str) -> int:
    """The largest value of an image as it is read, 0 to 255; 0 if it cannot be read."""
    try:
        image: Image.Image = open_image(path)
    except OSError:
        return 0
    return int(np.asarray(image).max())
