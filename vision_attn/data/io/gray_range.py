"""Which values are black and white in grayscale images of more than 8 bits.

Such files rarely say it: a 12-bit X-ray in a 16-bit file has values up to 4095, and float images
have any. So the range is chosen once per data set, recorded with the model, and used for every
image that the model is shown. TIFF's MinSampleValue and MaxSampleValue are statistics of one image
and must not affect how it looks (TIFF 6.0, section 8); PNG's sBIT does not change that the largest
value is white (PNG, section 11.3.3.4). Both are therefore not used.
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
"""Bits per pixel of cameras and scanners whose images are stored in 16 bits."""
BLOCK = 2**20  # gray pixels that are converted at once; at least a row
LOW, HIGH = 1e-4, 1 - 1e-4
"""Quantiles of the values of a data set; those beyond are outliers, such as dead pixels."""


class GrayRange(NamedTuple):
    """The value that is black, and the value that is white; those beyond are clipped."""

    black: float
    white: float

    def to_bytes(self, gray: np.ndarray) -> NDArray[np.uint8]:
        """Scale values to 0 to 255, rounded; NaN, infinity and values below black are 0.

        >>> GrayRange(0, 4095).to_bytes(np.array([0, 2047, 4095, 65535])).tolist()
        [0, 127, 255, 255]
        >>> GrayRange(-1, 3).to_bytes(np.array([-9, -1, 0, 3, np.nan, np.inf])).tolist()
        [0, 0, 64, 255, 0, 0]
        """
        values = gray.astype(np.float64)
        scaled = (values - self.black) * 255 / (self.white - self.black)
        return np.rint(np.clip(np.where(np.isfinite(scaled), scaled, 0), 0, 255)).astype(np.uint8)

    @property
    def is_valid(self) -> bool:
        """Whether both are finite and white is more than black."""
        return isfinite(self.black) and isfinite(self.white) and self.black < self.white


FULL_16_BITS = GrayRange(0, 65535)


def is_deep(mode: str) -> bool:
    """Whether images of a Pillow mode are grayscale of more than 8 bits.

    >>> [is_deep(mode) for mode in ("I;16", "I;16B", "I", "F", "L", "RGB")]
    [True, True, True, True, False, False]
    """
    return is_16_bit(mode) or mode in ("I", "F")


def is_16_bit(mode: str) -> bool:
    """Whether images of a Pillow mode are grayscale of 16 bits without sign."""
    return mode.startswith("I;16")


def range_of_depth(values: np.ndarray) -> GrayRange:
    """From 0 to the largest value of the smallest depth (8 to 16 bits) that holds the values.

    >>> range_of_depth(np.array([7, 1590, 1610])), range_of_depth(np.array([4096]))
    (GrayRange(black=0, white=4095), GrayRange(black=0, white=16383))
    """
    largest = np.quantile(values, HIGH, method="higher")
    return GrayRange(0, next(2**bits - 1 for bits in DEPTHS if largest < 2**bits))


def range_of_quantiles(values: np.ndarray) -> GrayRange:
    """From the smallest to the largest value, except for outliers, NaN and infinity.

    >>> range_of_quantiles(np.array([np.nan, -3.0, 0.0, 5.0, np.inf]))
    GrayRange(black=-3.0, white=5.0)
    >>> range_of_quantiles(np.array([2.0]))  # a single value is black
    GrayRange(black=2.0, white=3.0)
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return GrayRange(0.0, 1.0)
    low = float(np.quantile(finite, LOW, method="lower"))
    high = float(np.quantile(finite, HIGH, method="higher"))
    return GrayRange(low, high if high > low else low + 1)


def range_of_image(image: Image.Image) -> GrayRange:
    """The range of a single image that comes without a data set.

    In 16 bits 65535 is white; other grayscale images have no standard white: the darkest pixel is
    black, and the lightest white.

    >>> range_of_image(Image.fromarray(np.float32([[-1, np.nan, 3]])))
    GrayRange(black=-1.0, white=3.0)
    """
    if is_16_bit(image.mode):
        return FULL_16_BITS
    finite = (gray[np.isfinite(gray)] for _, gray in row_blocks(image))
    values = [(float(part.min()), float(part.max())) for part in finite if part.size]
    low, high = min((v[0] for v in values), default=0.0), max((v[1] for v in values), default=1.0)
    return GrayRange(low, high if high > low else low + 1)


def row_blocks(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], np.ndarray]]:
    """Blocks of rows with about a million pixels each: their box in the image, and their pixels."""
    width, height = image.size
    step = max(BLOCK // max(width, 1), 1)
    for top in range(0, height, step):
        box = (0, top, width, min(top + step, height))
        yield box, np.asarray(image.crop(box))


def as_range(given: Sequence[float] | None) -> GrayRange | None:
    """A range from a setting or a file: [black, white].

    Raises:
        ValueError: it is not two finite numbers, the second of them larger.

    >>> as_range([0, 4095]), as_range(None)
    (GrayRange(black=0, white=4095), None)
    """
    if given is None:
        return None
    is_pair = isinstance(given, (list, tuple)) and len(given) == 2
    if not is_pair or any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in given):
        raise ValueError("gray_range must be two numbers: [BLACK, WHITE]")
    found = GrayRange(*given)
    if not found.is_valid:
        raise ValueError(f"gray_range needs two finite numbers, black < white, not {list(given)}")
    return found
