"""Learning rate schedules: linear warmup, then cosine or linear decay to 0."""

import math
from collections.abc import Callable

Schedule = Callable[[int, int, float], float]
"""From the step, the number of steps and the share of warmup to a factor of the learning rate."""


def warmup_then_cosine(step: int, total: int, warmup: float) -> float:
    """Linear warmup, then cosine decay to 0 (arXiv 1608.03983).

    >>> [round(warmup_then_cosine(step, 100, 0.1), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    warmed, decayed = phases(step, total, warmup)
    return warmed if warmed < 1 else (1 + math.cos(math.pi * decayed)) / 2


def warmup_then_line(step: int, total: int, warmup: float) -> float:
    """Linear warmup, then linear decay to 0.

    It spends fewer steps than a cosine at high and at very low learning rates.

    >>> [round(warmup_then_line(step, 100, 0.1), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    >>> [warmup_then_line(step, 5, 0.0) for step in (0, 1, 2, 3, 5)]  # warmup of one step
    [1.0, 1.0, 0.75, 0.5, 0.0]
    """
    warmed, decayed = phases(step, total, warmup)
    return warmed if warmed < 1 else 1 - decayed


def phases(step: int, total: int, warmup: float) -> tuple[float, float]:
    """The completed share of the warmup and the completed share of the decay at a step.

    >>> phases(4, 100, 0.1), phases(55, 100, 0.1)
    ((0.5, 0.0), (1.0, 0.5))
    """
    rise = max(round(warmup * total), 1)
    if step < rise:
        return (step + 1) / rise, 0.0
    return 1.0, min((step - rise) / max(total - rise, 1), 1.0)


SCHEDULES: dict[str, Schedule] = {"cosine": warmup_then_cosine, "linear": warmup_then_line}
