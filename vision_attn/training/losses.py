"""What is minimised. A choice of the recipe, not of the architecture."""

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from vision_attn.core.grid import sums_in_cells
from vision_attn.training.cell_deletion import CELLS

Loss = Callable[[Tensor, Tensor, float], Tensor]
"""Logits (B, K), targets and label smoothing, to the mean loss of an image.

Targets are class numbers (B,) or, of images that were mixed, the share of each class (B, K).
"""


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Softmax over the classes: logits mean something only against each other.

    >>> import torch
    >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]), 0.0)          # log 4
    tensor(1.3863)
    """
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def binary_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """A sigmoid for each class by itself, summed over classes: each logit means something alone.

    Evidence for a class is then evidence that it is there, whatever the others say. Smoothing
    spreads that share of the target over all classes, as for cross entropy.

    >>> import torch
    >>> binary_cross_entropy(torch.zeros(1, 4), torch.tensor([2]), 0.0)   # 4 log 2
    tensor(2.7726)
    """
    classes = logits.shape[1]
    wanted = shares(targets, classes).to(logits.dtype)
    wanted = wanted * (1 - smoothing) + smoothing / classes
    losses = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return losses.sum(1).mean()


def shares(targets: Tensor, classes: int) -> Tensor:
    """The share of each class in each image (B, K), of class numbers (B,) or of shares themselves.

    >>> import torch
    >>> shares(torch.tensor([1]), 3), shares(torch.tensor([[0.3, 0.7, 0.0]]), 3)
    (tensor([[0, 1, 0]]), tensor([[0.3000, 0.7000, 0.0000]]))
    """
    return functional.one_hot(targets, classes) if targets.ndim == 1 else targets


def main_class(targets: Tensor) -> Tensor:
    """The class of each image (B,); of mixed images, the one with the largest share.

    >>> import torch
    >>> main_class(torch.tensor([[0.3, 0.7, 0.0]])), main_class(torch.tensor([2]))
    (tensor([1]), tensor([2]))
    """
    return targets if targets.ndim == 1 else targets.argmax(1)


def evidence_for_absent(evidence: Tensor, targets: Tensor) -> Tensor:
    """What places argue for classes that an image does not show, in logits, mean over images.

    Of evidence (B, K, h, w), its positive part in all classes but the target's, summed over
    classes and places. An image's label says this much about each of its places: none shows
    another class. It can only be asked because evidence is a sum that the logit is made of.

    >>> import torch
    >>> evidence = torch.tensor([[[[5.0, -1.0]], [[2.0, -2.0]], [[-3.0, 0.5]]]])
    >>> evidence_for_absent(evidence, torch.tensor([0]))                    # 2 + 0.5
    tensor(2.5000)
    """
    present = shares(targets, evidence.shape[1]) > 0
    argued = evidence.clamp(min=0).sum((2, 3))
    return argued.masked_fill(present, 0).sum(1).mean()


def evidence_off(evidence: Tensor, falls: Tensor, cells: Tensor) -> Tensor:
    """How far evidence is from what logits lose with a cell: squared, in logits, mean over images.

    Of evidence (B, K, h, w), what lies in one of 4x4 cells should be what each logit falls by
    (B, K) when that cell (B,) is plain; the squares of the differences are summed over classes.
    As `evidence_for_absent`, it can only be asked where the logit is a sum over places.

    >>> import torch
    >>> evidence = torch.zeros(1, 2, 4, 4)
    >>> evidence[0, :, 0, 3] = torch.tensor([3.0, -1.0])
    >>> evidence_off(evidence, torch.tensor([[1.0, -2.0]]), torch.tensor([3]))      # 2^2 + 1^2
    tensor(5.)
    """
    inside = sums_in_cells(evidence, CELLS).flatten(2)
    taken = inside.gather(2, cells.view(-1, 1, 1).expand(-1, inside.shape[1], 1)).squeeze(2)
    return (taken - falls).square().sum(1).mean()


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}


def hold_bias(head: nn.Linear) -> None:
    """Fix a head's bias at the logit of a class drawn at random, for binary cross entropy.

    A class is then absent until something argues for it, and nothing but evidence can: the bias
    learns nothing (Böhle et al. 2022, arXiv 2205.10268, do so for B-cos networks).

    >>> head = nn.Linear(3, 10)
    >>> hold_bias(head)
    >>> head.bias.detach()[:2]                                             # log(1/9)
    tensor([-2.1972, -2.1972])
    """
    nn.init.constant_(head.bias, -math.log(max(head.out_features - 1, 1)))
    head.bias.requires_grad_(False)
