"""How the learning rate goes: up in a line, then down to 0."""

import math
from collections.abc import Callable

Schedule = Callable[[int, int, float], float]
"""The step, how many there are, and the share of them that rises, to a factor of the rate."""


def warmup_then_cosine(step: int, total: int, warmup: float) -> float:
    """Down as a cosine (arXiv 1608.03983).

    >>> [round(warmup_then_cosine(step, 100, 0.1), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rising, fallen = parts(step, total, warmup)
    return rising if rising < 1 else (1 + math.cos(math.pi * fallen)) / 2


def warmup_then_line(step: int, total: int, warmup: float) -> float:
    """Down in a line: less time at high rates than under a cosine, and less at the lowest.

    >>> [round(warmup_then_line(step, 100, 0.1), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    >>> [warmup_then_line(step, 5, 0.0) for step in (0, 1, 2, 3, 5)]  # no rise but the first step
    [1.0, 1.0, 0.75, 0.5, 0.0]
    """
    rising, fallen = parts(step, total, warmup)
    return rising if rising < 1 else 1 - fallen


def parts(step: int, total: int, warmup: float) -> tuple[float, float]:
    """The share of the rise that is reached by a step, and the share of the fall that is behind.

    >>> parts(4, 100, 0.1), parts(55, 100, 0.1)
    ((0.5, 0.0), (1.0, 0.5))
    """
    rise = max(round(warmup * total), 1)
    if step < rise:
        return (step + 1) / rise, 0.0
    return 1.0, min((step - rise) / max(total - rise, 1), 1.0)


SCHEDULES: dict[str, Schedule] = {"cosine": warmup_then_cosine, "linear": warmup_then_line}
