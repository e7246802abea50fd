"""Intervals of the scores of a split that is too small to say much."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.dataset import StreamingDataset
from vision_attn.data.groups import groups_of
from vision_attn.data.splits import MIN_HELD_OUT
from vision_attn.metrics.bootstrap import Interval, bootstrap_intervals

NONE = torch.empty(0, dtype=torch.long)


@dataclass
class Outcomes:
    """The predicted and the true class of each image of a split, in their order."""

    predicted: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: logits (B, K) and targets (B,)."""
        self.predicted.append(logits.argmax(1).cpu())
        self.targets.append(targets.cpu())

    def gather(self) -> None:
        """Add the images of the other processes, in the order of the split."""
        if not (dist.is_available() and dist.is_initialized()):
            return
        mine = [torch.cat([*found, NONE]) for found in (self.predicted, self.targets)]
        parts: list[list[Tensor]] = [[]] * dist.get_world_size()
        dist.all_gather_object(parts, mine)
        count = sum(len(targets) for _, targets in parts)
        taken = [len(range(rank, count, len(parts))) for rank in range(len(parts))]
        self.clear()
        if [len(targets) for _, targets in parts] != taken:  # some could not be read
            return
        for found, index in ((self.predicted, 0), (self.targets, 1)):
            whole = torch.empty(count, dtype=torch.long)
            for rank, part in enumerate(parts):
                whole[rank :: len(parts)] = part[index]
            found.append(whole)

    def clear(self) -> None:
        """Forget all images."""
        self.predicted.clear()
        self.targets.clear()


def score_intervals(outcomes: Outcomes, data: ImageDataModule, stage: str) -> dict[str, Interval]:
    """Intervals by score if a class has fewer than ten images in the split; else none.

    They are drawn over groups of related images, as the splits were cut by.

    Args:
        outcomes: of the split, of all processes.
        data: has the split.
        stage: "val" or "test".
    """
    if not outcomes.targets or min(Counter(data.split(stage).labels).values()) >= MIN_HELD_OUT:
        return {}
    targets = torch.cat(outcomes.targets).numpy()
    names = names_that_were_read(data, stage)
    if len(names) != len(targets):  # a limit of batches
        return {}
    correct = torch.cat(outcomes.predicted).numpy() == targets
    return bootstrap_intervals(correct, targets, related(data, stage, names), data.seed)


def names_that_were_read(data: ImageDataModule, stage: str) -> list[str]:
    """The names of a split's images that could be read, in their order."""
    store = data.store(stage)
    if isinstance(store, StreamingDataset):
        return [n for n, failed in zip(store.split.names, store.failed, strict=True) if not failed]
    return [store.split.names[index] for index in store.readable]


def related(data: ImageDataModule, stage: str, names: list[str]) -> np.ndarray:
    """The number of the group of each image (N,): as the splits were cut, else found anew."""
    if all(name in data.group_of for name in names):
        return np.array([data.group_of[name] for name in names])
    split = data.split(stage)
    try:
        found = groups_of(split, data.group, data.source.column, 1).of_image
    except UserError:  # of other images than the run's, which its column or expression names not
        return np.arange(len(names))
    by_name = dict(zip(split.names, found, strict=True))
    return np.array([by_name[name] for name in names])


def bounds(stage: str, intervals: Mapping[str, Interval]) -> dict[str, float]:
    """The bounds of the intervals of a stage by name, as they are in `metrics.json`.

    >>> bounds("test", {"accuracy": Interval(0.5, 0.9)})
    {'test/accuracy_low': 0.5, 'test/accuracy_high': 0.9}
    """
    return {
        f"{stage}/{name}_{side}": value
        for name, interval in intervals.items()
        for side, value in interval._asdict().items()
    }


def with_interval(value: float, interval: Interval | None) -> str:
    """A score with its interval.

    >>> with_interval(0.75, Interval(0.5, 0.9)), with_interval(0.75, None)
    ('0.7500 (0.500 to 0.900)', '0.7500')
    """
    if interval is None:
        return f"{value:.4f}"
    return f"{value:.4f} ({interval.low:.3f} to {interval.high:.3f})"
