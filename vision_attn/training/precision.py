"""Choose the precision (float32 or bf16) that suits the network and the machine."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from torch import nn

FLOAT32, BF16 = "32-true", "bf16-mixed"
"""Lightning's names of the precisions."""
MANY = 0.25  # of the spatial convolutions


def precision_for(network: nn.Module, accelerator: str, learns: bool = True) -> str:
    """The precision in which a network runs fastest here, by Lightning's name.

    bf16 if the hardware multiplies it natively. On a CPU without matrix tiles (AMX), though, the
    backward pass of networks of depthwise convolutions and batch norm takes so much longer in bf16
    that they are trained in float32; without a backward pass they are faster in bf16, too, and so
    are networks with layer norm (ConvNeXt). Measured by `scripts/bench.py --only precision`.

    Args:
        network: the network.
        accelerator: Lightning's name of the device, or "auto".
        learns: whether the network is trained; a frozen one has no backward pass.
    """
    if torch.cuda.is_available() and accelerator != "cpu":
        return BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else FLOAT32
    cpu = torch.cpu.get_capabilities()
    if not (cpu.get("amx_bf16") or cpu.get("avx512_bf16")):
        return FLOAT32
    slow_backward = depthwise_share(network) >= MANY and has_batch_norm(network)
    return FLOAT32 if learns and slow_backward and not cpu.get("amx_bf16") else BF16


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a network has batch norm.

    >>> has_batch_norm(nn.BatchNorm2d(3)), has_batch_norm(nn.LayerNorm(3))
    (True, False)
    """
    kind = nn.modules.batchnorm._BatchNorm
    return any(isinstance(layer, kind) for layer in network.modules())


def depthwise_share(network: nn.Module) -> float:
    """The share of depthwise convolutions among those that see more than one place.

    >>> depthwise = nn.Conv2d(8, 8, 3, groups=8)
    >>> depthwise_share(nn.Sequential(nn.Conv2d(3, 8, 3), depthwise, nn.Conv2d(8, 4, 1)))
    0.5
    >>> depthwise_share(nn.Linear(2, 2))
    0.0
    """
    spatial = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1
    ]
    depthwise = [layer for layer in spatial if layer.groups == layer.in_channels > 1]
    return len(depthwise) / len(spatial) if spatial else 0.0


@contextmanager
def full_precision(trainer: pl.Trainer) -> Iterator[None]:
    """Score in float32 inside this context, as `predict` and the report do, not in mixed precision.

    Else an image whose two best classes are nearly equal could be right in one and wrong in the
    other.
    """
    strategy = trainer.strategy
    plugin = strategy.precision_plugin
    if type(plugin) is MixedPrecision:  # those of sharded models also convert the weights
        strategy.precision_plugin = Precision()
    try:
        yield
    finally:
        strategy.precision_plugin = plugin
