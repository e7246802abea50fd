"""Remove strides from a CNN, so that small images do not end on a 1x1 feature grid.

The weights keep their shapes, so that pretrained weights still fit.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PROBE_SIZE = 256  # side of the probe image in pixels: large enough for all strides of common CNNs


def remove_first_stride(net: nn.Module) -> bool:
    """Halve the stride of the first strided layers, in all parallel branches.

    Returns:
        Whether there was a stride to remove.
    """
    layers = first_strided_layers(net)
    for path in layers:
        net.set_submodule(path, with_half_stride(net.get_submodule(path)))
    return bool(layers)


@contextmanager
def in_eval(net: nn.Module) -> Iterator[None]:
    """Context manager: eval mode and no gradients; restores the training mode afterward."""
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(was_training)


def blank(net: nn.Module, size: int) -> Tensor:
    """One black image (1, 3, size, size) with the network's device and dtype."""
    parameter = next(net.parameters())
    return torch.zeros(1, 3, size, size, device=parameter.device, dtype=parameter.dtype)


def first_strided_layers(net: nn.Module) -> list[str]:
    """Module paths of the layers that first reduce the grid.

    All layers that reduce a grid of the same size are included: the branches of a residual block
    must have the same output size.
    """
    reduced: list[tuple[int, str]] = []

    def record(path: str) -> Callable[[nn.Module, tuple, object], None]:
        def hook(_: nn.Module, inputs: tuple, output: object) -> None:
            if not (inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)):
                return
            if inputs[0].ndim == output.ndim == 4 and output.shape[-1] > 1:
                before, after = inputs[0].shape[-1], output.shape[-1]
                if before / after > 1.4:
                    reduced.append((before, path))

        return hook

    leaves = [(path, layer) for path, layer in net.named_modules() if has_stride(layer)]
    handles = [layer.register_forward_hook(record(path)) for path, layer in leaves]
    try:
        with in_eval(net):
            net(blank(net, PROBE_SIZE))
    finally:
        for handle in handles:
            handle.remove()
    if not reduced:
        return []
    largest = max(size for size, _ in reduced)
    return [path for size, path in reduced if size == largest]


def has_stride(layer: nn.Module) -> bool:
    """Whether this is a single layer with a stride, such as a convolution or a pooling layer."""
    return hasattr(layer, "stride") and not any(True for _ in layer.children())


def with_half_stride(layer: nn.Module) -> nn.Module:
    """The layer with half its stride and unchanged weights.

    A layer without weights whose kernel size equals its stride (such as 2x2 average pooling) is
    replaced by the identity: with a smaller stride it would shift the grid, and at stride 1 it is
    not needed.
    """
    stride: Any = layer.stride
    pair = as_pair(stride)
    halved = tuple(max(math.ceil(step / 2), 1) for step in pair)
    kernel = as_pair(getattr(layer, "kernel_size", 0))
    if not any(True for _ in layer.parameters()) and (kernel == pair or kernel == (0, 0)):
        return nn.Identity()
    changes: dict[str, Any] = {"stride": halved if isinstance(stride, tuple) else halved[0]}
    if kernel == pair and getattr(layer, "padding", None) == (0, 0):  # a patchify stem
        changes["padding"] = tuple((k - s) // 2 for k, s in zip(kernel, halved, strict=True))
    for key, value in changes.items():
        setattr(layer, key, value)
    return layer


def as_pair(value: int | Sequence[int]) -> tuple[int, int]:
    """A size as (height, width).

    >>> as_pair(2), as_pair((2, 1))
    ((2, 2), (2, 1))
    """
    height, width = (value, value) if isinstance(value, int) else value
    return height, width
