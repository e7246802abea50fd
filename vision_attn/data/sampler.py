"""Reproducible sampling order of training images, a function of the run's seed and the epoch."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler


class Share(NamedTuple):
    """Which images of an order a process takes: those at `rank`, `rank + of`, and so on."""

    rank: int
    of: int


ALL = Share(0, 1)
"""The share of a single process."""


class ScoringBatches(Sampler[list[int]]):
    """Batches in which each process scores its share of the images, none of them twice.

    All processes have the same number of batches, since they wait for each other in each; the last
    of them may be empty. Lightning's `DistributedSampler` repeats images, which changes scores.

    Args:
        count: number of images.
        batch_size: most images per batch of a process.
        share: of this process.

    >>> [list(ScoringBatches(5, 2, Share(rank, 2))) for rank in (0, 1)]
    [[[0, 2], [4]], [[1, 3], []]]
    >>> list(ScoringBatches(5, 2))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, count: int, batch_size: int, share: Share = ALL) -> None:
        self.mine = range(share.rank, count, share.of)
        self.batch_size = batch_size
        self.batches = math.ceil(math.ceil(count / share.of) / batch_size)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch_size
        return iter([list(self.mine[k * size : (k + 1) * size]) for k in range(self.batches)])


class EpochSampler(Sampler[int]):
    """A new random order in each epoch, independent of earlier random draws.

    A resumed run therefore sees the same order as a run that was never interrupted. Lightning sets
    the epoch.

    Several processes draw the same order and take turns, so that their batches of one step are
    together the batch that a single process with the same number of images per step would take.

    Args:
        count: number of images, and of draws per epoch of all processes together.
        seed: the seed of the run.
        weights: relative probability of each image, (count,), drawn with replacement; None draws
            each image once.
        alternate: flip each image left to right in every other epoch, a random half of them in
            the first. Two epochs then show both sides of every image, which is better than
            random flips wherever flipping helps (Jordan 2024, arXiv 2404.00498). A flipped image
            k is drawn as ~k, that is -1 - k.
        share: of this process.

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
        self,
        count: int,
        seed: int,
        weights: Tensor | None = None,
        alternate: bool = False,
        share: Share = ALL,
    ) -> None:
        self.share = share
        self.count = count
        self.seed = seed
        self.weights = weights
        self.alternate = alternate
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration is for."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(self.count // self.share.of, 1)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        if self.weights is None:
            drawn = torch.randperm(self.count, generator=generator)
        else:
            drawn = torch.multinomial(self.weights, self.count, True, generator=generator)
        order = self.flip_alternately(drawn) if self.alternate else drawn
        # All processes take the same number; fewer images than processes are repeated.
        mine = torch.arange(len(self)) * self.share.of + self.share.rank
        return iter(order[mine % self.count].tolist())

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
