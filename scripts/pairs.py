"""Two things timed in pairs, for scripts that compare what they cost on a noisy machine."""

import random
from collections.abc import Callable

Timed = Callable[[], float]


def ratios(one: Timed, other: Timed, pairs: int) -> list[float]:
    """Seconds of `other` over those of `one`, pair by pair, sorted."""
    found = []
    for _ in range(pairs):
        if random.random() < 0.5:
            base, cost = one(), other()
        else:
            cost, base = other(), one()
        found.append(cost / base)
    return sorted(found)
