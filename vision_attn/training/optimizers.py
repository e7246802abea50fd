"""Optimizers: parameter groups by learning rate, and fused updates, where torch has them."""

from typing import Any

import torch
from torch import Tensor

DEVICES = ("cpu", "cuda")


def with_fused_update(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Turn on fused updates of an optimizer, unless `fused` or `foreach` is set or torch cannot.

    The formulas are the same and trainings stay reproducible, but the rounding differs from that of
    separate operations.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> with_fused_update(torch.optim.AdamW([weight])).param_groups[0]["fused"]
    True
    >>> with_fused_update(torch.optim.AdamW([weight], fused=False)).param_groups[0]["fused"]
    False
    """
    for group in optimizer.param_groups:
        is_unset = group.get("fused", False) is None and not group.get("foreach")
        can_fuse = all(p.is_floating_point() and p.device.type in DEVICES for p in group["params"])
        if is_unset and can_fuse:
            group["fused"] = True
    return optimizer


def base_lr(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the last layers; with layer-wise decay, earlier layers have less.

    >>> from torch import nn
    >>> parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    >>> groups = [{"params": [p], "lr": lr} for p, lr in zip(parameters, (0.01, 0.1))]
    >>> base_lr(torch.optim.SGD(groups))
    0.1
    """
    return float(max(group["lr"] for group in optimizer.param_groups))


def split_by_lr(groups: list[dict[str, Any]], rates: dict[Tensor, float]) -> list[dict[str, Any]]:
    """Split parameter groups so that all parameters of a group have the same learning rate.

    Each new group has a key `rate`, the factor of its learning rate.

    >>> from torch import nn
    >>> stem, head = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))
    >>> [group["rate"] for group in split_by_lr([{"params": [stem, head]}], {stem: 0.1})]
    [0.1, 1.0]
    """
    split = []
    for group in groups:
        members: dict[float, list[Tensor]] = {}
        for parameter in group["params"]:
            members.setdefault(rates.get(parameter, 1.0), []).append(parameter)
        split += [group | {"params": members[rate], "rate": rate} for rate in members]
    return split
