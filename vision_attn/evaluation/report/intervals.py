"""Confidence interval of a proportion, such as an accuracy."""

import math


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
