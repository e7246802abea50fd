"""Accuracy that gives every class the same say, also where a class has no images."""

from typing import Any

from torch import Tensor
from torchmetrics.classification import MulticlassStatScores


class BalancedAccuracy(MulticlassStatScores):
    """Mean recall of the classes that have images (Brodersen et al. 2010).

    torchmetrics' own macro average counts a class that was predicted but has no images as 0.

    Args:
        num_classes: number of classes.
        kwargs: of every metric of torchmetrics.

    >>> import torch
    >>> score = BalancedAccuracy(3)
    >>> score(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1]))  # recalls 1 and 1/2
    tensor(0.7500)
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(num_classes, average="none", **kwargs)

    def compute(self) -> Tensor:
        """The score so far."""
        right, _, _, _, images = super().compute().unbind(-1)
        present = images > 0
        return (right[present] / images[present]).mean()
