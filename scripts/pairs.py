"""Paired timing: compare the cost of two functions on a noisy machine."""

import random
import time
from collections.abc import Callable

import torch

Timed = Callable[[], float]


def seconds() -> float:
    """The time in seconds, once the GPU, if there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


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
