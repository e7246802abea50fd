"""Bootstrap intervals of accuracy and balanced accuracy, over groups of related images.

Axes: N images, G groups, R resamples.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

RESAMPLES = 2_000
LEVEL = 0.95

Labels = NDArray[np.int64]


class Interval(NamedTuple):
    """An interval that holds the score of the population in 95 of 100 samples, about."""

    low: float
    high: float


def bootstrap_intervals(
    correct: NDArray[np.bool_], targets: Labels, groups: Labels, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of `accuracy` and `balanced_accuracy` (Efron & Tibshirani 1993, 13.3).

    Whole groups are drawn with replacement, since related images are right or wrong together
    (cluster bootstrap; Davison & Hinkley 1997, section 3.8). A resample lacks some classes;
    its balanced accuracy is the mean over those that it has. If all images are right (or all
    wrong), resamples do not vary: the interval of both is then the exact one of a share of
    groups (Clopper & Pearson 1934).

    Args:
        correct: (N,), whether each prediction is right.
        targets: (N,), class numbers.
        groups: (N,), numbers of groups; images of a group are related.
        seed: of the resamples.

    Raises:
        ValueError: there are no images.

    >>> right, one_class = np.array([True, True, True, False]), np.zeros(4, np.int64)
    >>> bootstrap_intervals(right, one_class, np.array([0, 0, 0, 0]))["accuracy"]  # one group
    Interval(low=0.75, high=0.75)
    >>> found = bootstrap_intervals(right[:3], one_class[:3], np.arange(3))["accuracy"]
    >>> round(found.low, 3), found.high              # .025 ** (1 / 3) = .292
    (0.292, 1.0)
    """
    if not len(correct):
        raise ValueError("there are no images to score")
    _, numbers = np.unique(groups, return_inverse=True)
    count = int(numbers.max()) + 1
    if correct.all() or not correct.any():
        exact = binomtest(count if correct.all() else 0, count).proportion_ci(LEVEL)
        interval = Interval(float(exact.low), float(exact.high))
        return {"accuracy": interval, "balanced_accuracy": interval}
    _, classes = np.unique(targets, return_inverse=True)
    images, right = (counted(numbers, classes, weights) for weights in (None, correct))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    images, right = drawn @ images, drawn @ right  # (R, K)
    with np.errstate(invalid="ignore"):
        recall = right / images  # NaN for a class that a resample lacks
    scores = {
        "accuracy": right.sum(1) / images.sum(1),
        "balanced_accuracy": np.nanmean(recall, 1),
    }
    tail = (1 - LEVEL) / 2
    return {
        name: Interval(*map(float, np.quantile(values, [tail, 1 - tail])))
        for name, values in scores.items()
    }


def counted(
    groups: Labels, classes: Labels, weights: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """The number (or the sum of weights) of the images of each group and class (G, K).

    >>> counted(np.array([0, 0, 1]), np.array([1, 1, 0]), None).tolist()
    [[0.0, 2.0], [1.0, 0.0]]
    """
    table = np.zeros((groups.max() + 1, classes.max() + 1))
    np.add.at(table, (groups, classes), 1.0 if weights is None else weights.astype(float))
    return table
