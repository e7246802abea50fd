"""In which order training images are drawn: decided by the run's seed and the epoch alone."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """A new order each epoch, which owes nothing to what was drawn before it.

    A run that goes on after an interruption therefore sees the order that it would have seen.
    Lightning tells the epoch, and cuts the order for several processes, in all of which it is
    the same.

    Args:
        count: images there are, and are drawn.
        seed: of the run.
        weights: how likely each image is drawn, with replacement, (count,); None draws each once.
        alternate: mirror each image in every other epoch, half of them from the first epoch on.
            Two epochs then show both sides of every image, which is better than chance wherever
            mirroring helps (Jordan 2024, arXiv 2404.00498). A mirrored image k is drawn as ~k,
            that is -1 - k.

    >>> order = EpochSampler(5, seed=0)
    >>> first = list(order)
    >>> order.set_epoch(1)
    >>> sorted(first), first == list(order), first == list(EpochSampler(5, seed=0))
    ([0, 1, 2, 3, 4], False, True)
    >>> order = EpochSampler(5, seed=0, alternate=True)
    >>> both = [*order, order.set_epoch(1), *order]
    >>> sorted(k for k in both if k is not None)              # each image, and each one mirrored
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
        """Which epoch comes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        if self.weights is None:
            drawn = torch.randperm(self.count, generator=generator)
        else:
            drawn = torch.multinomial(self.weights, self.count, True, generator=generator)
        return iter((self.mirrored(drawn) if self.alternate else drawn).tolist())

    def mirrored(self, drawn: Tensor) -> Tensor:
        """Numbers of images, ~k for those that are mirrored in this epoch."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, 0, 0, 1))  # no epoch's
        first = torch.randint(0, 2, (self.count,), generator=generator)
        return torch.where((first[drawn] + self.epoch) % 2 == 1, ~drawn, drawn)


def seed_of(*numbers: int) -> int:
    """One seed made of several numbers (seed, epoch, ...), unlike that of any others.

    >>> seed_of(0, 1) != seed_of(1, 0), seed_of(2, 3) == seed_of(2, 3)
    (True, True)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
