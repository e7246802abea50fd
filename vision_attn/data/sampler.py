"""Reproducible sampling order of training images, a function of the run's seed and the epoch."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """A new random order in each epoch, independent of earlier random draws.

    A resumed run therefore sees the same order as a run that was never interrupted. Lightning sets
    the epoch, and shards the order across processes; it is the same in all of them.

    Args:
        count: number of images, and of draws per epoch.
        seed: the seed of the run.
        weights: relative probability of each image, (count,), drawn with replacement; None draws
            each image once.
        alternate: flip each image left to right in every other epoch, a random half of them in
            the first. Two epochs then show both sides of every image, which is better than
            random flips wherever flipping helps (Jordan 2024, arXiv 2404.00498). A flipped image
            k is drawn as ~k, that is -1 - k.

    >>> order = EpochSampler(5, seed=0)
    >>> first = list(order)
    >>> order.set_epoch(1)
    >>> sorted(first), first == list(order), first == list(EpochSampler(5, seed=0))
    ([0, 1, 2, 3, 4], False, True)
    >>> order = EpochSampler(5, seed=0, alternate=True)
    >>> both = [*order, order.set_epoch(1), *order]
    >>> sorted(k for k in both if k is not None)              # each image, and each one flipped
    [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4]
    """

    def __init__(
        self, count: int, seed: int, weights: Tensor | None = None, alternate: bool = False
    ) -> None:
        self.count = count
        self.seed = seed
        self.weights = weights
        self.alternate = alternate
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration is for."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        if self.weights is None:
            drawn = torch.randperm(self.count, generator=generator)
        else:
            drawn = torch.multinomial(self.weights, self.count, True, generator=generator)
        return iter((self.flip_alternately(drawn) if self.alternate else drawn).tolist())

    def flip_alternately(self, drawn: Tensor) -> Tensor:
        """Indices of images, with ~k for those that are flipped in this epoch."""
        # The same seed in all epochs; four numbers, so that it is not the seed of an epoch.
        generator = torch.Generator().manual_seed(seed_of(self.seed, 0, 0, 1))
        flipped_first = torch.randint(0, 2, (self.count,), generator=generator)
        return torch.where((flipped_first[drawn] + self.epoch) % 2 == 1, ~drawn, drawn)


def seed_of(*numbers: int) -> int:
    """Combine several numbers (seed, epoch, ...) into one seed, different for other numbers.

    >>> seed_of(0, 1) != seed_of(1, 0), seed_of(2, 3) == seed_of(2, 3)
    (True, True)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
