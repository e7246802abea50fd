"""Fused optimizers: update all weights in one kernel, where torch has one."""

import torch

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
