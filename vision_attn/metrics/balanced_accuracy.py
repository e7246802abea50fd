"""Balanced accuracy (mean recall per class) that ignores classes without images."""

from typing import Any

from torch import Tensor
from torchmetrics.classification import MulticlassStatScores


class BalancedAccuracy(MulticlassStatScores):
    """Mean recall of the classes that have images (Brodersen et al. 2010).

    torchmetrics' own macro average counts a class that was predicted but has no images as 0.

    Args:
        num_classes: number of classes.
        kwargs: options of all torchmetrics metrics.

    >>> import torch
    >>> score = BalancedAccuracy(3)
    >>> score(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1]))  # recalls 1 and 1/2
    tensor(0.7500)
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(num_classes, average="none", **kwargs)

    def compute(self) -> Tensor:
        """Compute the mean recall of all images so far."""
        correct, _, _, _, images = super().compute().unbind(-1)
        present = images > 0
        return (correct[present] / images[present]).mean()
