"""Classes of unequal size: how unequal, and drawing them equally often."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

STRONG = 5.0  # largest to smallest class, from which on classes are drawn equally often


def imbalance(labels: Sequence[str]) -> float:
    """How many times as many images the largest class has as the smallest.

    >>> imbalance(["a", "a", "a", "b", "b"]), imbalance([])
    (1.5, 1.0)
    """
    counts = Counter(labels).values()
    return max(counts) / min(counts) if counts else 1.0


def balancing(targets: Tensor) -> Tensor:
    """How likely each image is to be drawn, for every class to be drawn equally often, (N,).

    Sampling, and not weights in the loss: over-sampling to the full balance was the best of seven
    remedies in nearly all cases for CNNs, without overfitting (Buda et al. 2018, arXiv
    1710.05381), and the effect of weights fades as a network comes to fit its training images
    (Byrd & Lipton 2019, arXiv 1812.03372).

    Args:
        targets: class numbers of the training images, (N,).

    >>> balancing(torch.tensor([0, 0, 0, 1])).mul(6).tolist()
    [1.0, 1.0, 1.0, 3.0]
    """
    shares = 1.0 / torch.bincount(targets)[targets].double()
    return shares / shares.sum()
