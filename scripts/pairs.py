"""Paired timing: compare the cost of two functions on a noisy machine."""

import random
from collections.abc import Callable

Timed = Callable[[], float]


def ratios(one: Timed, other: Timed, pairs: int) -> list[float]:
    """The ratios of the seconds of `other` to those of `one`, one per pair, sorted."""
    found = []
    for _ in range(pairs):
        if random.random() < 0.5:
            base, cost = one(), other()
        else:
            cost, base = other(), one()
        found.append(cost / base)
    return sorted(found)
