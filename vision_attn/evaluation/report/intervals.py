"""Confidence interval of a proportion, such as an accuracy."""

import math
from collections.abc import Mapping


def accuracy_interval(
    recorded: Mapping[str, float | None], stage: str, correct: int, images: int
) -> tuple[float, float]:
    """95 % interval of the accuracy: the one that `fit` or `test` printed, else Wilson's.

    The printed one accounts for related images, and is there if a class has few images.

    Args:
        recorded: the scores in `metrics.json`.
        stage: "val" or "test".
        correct: number of images that are classified correctly.
        images: number of images.

    >>> printed = {"test/accuracy": 0.8, "test/accuracy_low": 0.4, "test/accuracy_high": 1.0}
    >>> accuracy_interval(printed, "test", 8, 10)
    (0.4, 1.0)
    >>> [round(edge, 3) for edge in accuracy_interval(printed, "test", 7, 10)]     # other images
    [0.397, 0.892]
    """
    names = ("accuracy", "accuracy_low", "accuracy_high")
    value, low, high = (recorded.get(f"{stage}/{name}") for name in names)
    if value is None or low is None or high is None or abs(value - correct / images) > 1e-6:
        return wilson(correct, images)
    return low, high


def wilson(correct: int, images: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a proportion such as the accuracy (Wilson 1927).

    >>> [round(edge, 3) for edge in wilson(8, 10)]
    [0.49, 0.943]
    """
    share = correct / images
    center = (share + z * z / (2 * images)) / (1 + z * z / images)
    spread = math.sqrt(share * (1 - share) / images + z * z / (4 * images**2))
    half_width = z * spread / (1 + z * z / images)
    return max(0.0, center - half_width), min(1.0, center + half_width)
