"""Spearman rank correlation, shared by several metrics."""

from torch import Tensor


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Compute Spearman's rank correlation of rows; ties get their mean rank, constant rows NaN.

    >>> import torch
    >>> spearman(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 30.0, 20.0]]))
    tensor([0.5000])
    """
    first, second = (ranks(values) for values in (one, other))
    first, second = (r - r.mean(1, keepdim=True) for r in (first, second))
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))


def ranks(values: Tensor) -> Tensor:
    """Compute ranks along rows, from 0; ties get their mean rank.

    >>> import torch
    >>> ranks(torch.tensor([[5.0, 1.0, 5.0]]))
    tensor([[1.5000, 0.0000, 1.5000]])
    """
    higher = values.unsqueeze(2) > values.unsqueeze(1)
    equal = values.unsqueeze(2) == values.unsqueeze(1)
    return higher.sum(2) + (equal.sum(2) - 1) / 2
