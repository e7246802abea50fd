"""Loss functions: cross entropy, binary cross entropy, and two losses on the evidence maps."""

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from vision_attn.core.grid import sums_in_cells
from vision_attn.training.cell_deletion import CELLS

Loss = Callable[[Tensor, Tensor, float], Tensor]
"""From logits (B, K), targets and label smoothing to the loss, averaged over images.

Targets are class numbers (B,) or, for images mixed by mixup or CutMix, the share of each class
(B, K).
"""


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross entropy of a softmax over the classes: only differences of logits matter.

    >>> import torch
    >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]), 0.0)          # log 4
    tensor(1.3863)
    """
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def binary_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Binary cross entropy of one sigmoid per class, summed over classes.

    Each logit has a meaning of its own: evidence for a class is evidence that it is there, whatever
    the other logits are. Smoothing spreads a share of the target over all classes, as in cross
    entropy.

    >>> import torch
    >>> binary_cross_entropy(torch.zeros(1, 4), torch.tensor([2]), 0.0)   # 4 log 2
    tensor(2.7726)
    """
    classes = logits.shape[1]
    smoothed = shares(targets, classes).to(logits.dtype)
    smoothed = smoothed * (1 - smoothing) + smoothing / classes
    losses = functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    return losses.sum(1).mean()


def shares(targets: Tensor, classes: int) -> Tensor:
    """The share of each class per image (B, K): class numbers (B,) one-hot, shares unchanged.

    >>> import torch
    >>> shares(torch.tensor([1]), 3), shares(torch.tensor([[0.3, 0.7, 0.0]]), 3)
    (tensor([[0, 1, 0]]), tensor([[0.3000, 0.7000, 0.0000]]))
    """
    return functional.one_hot(targets, classes) if targets.ndim == 1 else targets


def main_class(targets: Tensor) -> Tensor:
    """The class of each image (B,); for mixed images, the class with the largest share.

    >>> import torch
    >>> main_class(torch.tensor([[0.3, 0.7, 0.0]])), main_class(torch.tensor([2]))
    (tensor([1]), tensor([2]))
    """
    return targets if targets.ndim == 1 else targets.argmax(1)


def absent_evidence_loss(evidence: Tensor, targets: Tensor) -> Tensor:
    """Penalize positive evidence for classes that an image does not show.

    For evidence (B, K, h, w): its positive part in all classes but the target's, summed over
    classes and locations, in logits, averaged over images. An image's label is also a label of each
    of its locations: none of them shows another class. The model must have a logit that is a sum of
    evidence over locations.

    >>> import torch
    >>> evidence = torch.tensor([[[[5.0, -1.0]], [[2.0, -2.0]], [[-3.0, 0.5]]]])
    >>> absent_evidence_loss(evidence, torch.tensor([0]))                    # 2 + 0.5
    tensor(2.5000)
    """
    present = shares(targets, evidence.shape[1]) > 0
    positive = evidence.clamp(min=0).sum((2, 3))
    return positive.masked_fill(present, 0).sum(1).mean()


def deletion_loss(evidence: Tensor, drops: Tensor, cells: Tensor) -> Tensor:
    """Squared difference between the evidence in a cell and the logit drop when it is deleted.

    The evidence (B, K, h, w) inside one of 4x4 cells should equal the drop of each logit (B, K)
    when that cell (B,) is filled. Squared differences, in squared logits, are summed over classes
    and averaged over images. As for `absent_evidence_loss`, the model must have a logit that is a
    sum of evidence over locations.

    >>> import torch
    >>> evidence = torch.zeros(1, 2, 4, 4)
    >>> evidence[0, :, 0, 3] = torch.tensor([3.0, -1.0])
    >>> deletion_loss(evidence, torch.tensor([[1.0, -2.0]]), torch.tensor([3]))      # 2^2 + 1^2
    tensor(5.)
    """
    per_cell = sums_in_cells(evidence, CELLS).flatten(2)
    inside = per_cell.gather(2, cells.view(-1, 1, 1).expand(-1, per_cell.shape[1], 1)).squeeze(2)
    return (inside - drops).square().sum(1).mean()


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}


def freeze_bias(head: nn.Linear) -> None:
    """Freeze a head's bias at the logit of the prior probability 1/K, for binary cross entropy.

    A class is then predicted only because of evidence for it, not because of the bias (Böhle et al.
    2022, arXiv 2205.10268, do the same in B-cos networks).

    >>> head = nn.Linear(3, 10)
    >>> freeze_bias(head)
    >>> head.bias.detach()[:2]                                             # log(1/9)
    tensor([-2.1972, -2.1972])
    """
    nn.init.constant_(head.bias, -math.log(max(head.out_features - 1, 1)))
    head.bias.requires_grad_(False)
