"""Optimisers that update all weights in one kernel, where torch has one."""

import torch

DEVICES = ("cpu", "cuda")


def fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimiser, its updates fused where that is left open and torch can do so.

    The formulas are the same, and so are the weights of two trainings with it; its roundings are
    not those of separate operations.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> fused(torch.optim.AdamW([weight])).param_groups[0]["fused"]
    True
    >>> fused(torch.optim.AdamW([weight], fused=False)).param_groups[0]["fused"]
    False
    """
    for group in optimizer.param_groups:
        is_open = group.get("fused", False) is None and not group.get("foreach")
        group_can = all(p.is_floating_point() and p.device.type in DEVICES for p in group["params"])
        if is_open and group_can:
            group["fused"] = True
    return optimizer
