"""Leaving out strides: small images must not end on a grid of one place.

The weights keep their shapes, so that pretrained ones still fit.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PROBE_SIZE = 256  # pixels a side: every stride of a common CNN shows as a step of its own


def leave_out_first_stride(net: nn.Module) -> bool:
    """Run the first strided layers at half their stride, parallel branches together.

    Returns:
        Whether there was a stride to leave out.
    """
    layers = first_strided_layers(net)
    for path in layers:
        net.set_submodule(path, at_half_stride(net.get_submodule(path)))
    return bool(layers)


@contextmanager
def in_eval(net: nn.Module) -> Iterator[None]:
    """Run a network without gradients and without touching its state."""
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(was_training)


def blank(net: nn.Module, size: int) -> Tensor:
    """One black image (1, 3, size, size) of the network's device and number type."""
    like = next(net.parameters())
    return torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype)


def first_strided_layers(net: nn.Module) -> list[str]:
    """Paths of the layers that do the first halving of the grid.

    Layers that reduce grids of the same size belong together: the branches of a residual block
    must agree.
    """
    reduced: list[tuple[int, str]] = []

    def note(path: str) -> Callable[[nn.Module, tuple, object], None]:
        def hook(_: nn.Module, inputs: tuple, output: object) -> None:
            if not (inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)):
                return
            if inputs[0].ndim == output.ndim == 4 and output.shape[-1] > 1:
                before, after = inputs[0].shape[-1], output.shape[-1]
                if before / after > 1.4:
                    reduced.append((before, path))

        return hook

    leaves = [(path, layer) for path, layer in net.named_modules() if strides(layer)]
    handles = [layer.register_forward_hook(note(path)) for path, layer in leaves]
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


def strides(layer: nn.Module) -> bool:
    """Whether this is a single layer with a stride, such as a convolution or a pooling."""
    return hasattr(layer, "stride") and not any(True for _ in layer.children())


def at_half_stride(layer: nn.Module) -> nn.Module:
    """The layer with half its stride, its weights untouched.

    A layer without weights whose window is its stride (a 2x2 average) would shift the grid if it
    moved by less than its window, and has nothing to say at stride 1: it becomes the identity.
    """
    stride: Any = layer.stride
    pair = as_pair(stride)
    halved = tuple(max(math.ceil(step / 2), 1) for step in pair)
    window = as_pair(getattr(layer, "kernel_size", 0))
    if not any(True for _ in layer.parameters()) and (window == pair or window == (0, 0)):
        return nn.Identity()
    changes: dict[str, Any] = {"stride": halved if isinstance(stride, tuple) else halved[0]}
    if window == pair and getattr(layer, "padding", None) == (0, 0):  # a patchify stem
        changes["padding"] = tuple((w - s) // 2 for w, s in zip(window, halved, strict=True))
    for key, value in changes.items():
        setattr(layer, key, value)
    return layer


def as_pair(value: int | Sequence[int]) -> tuple[int, int]:
    """A size along both sides.

    >>> as_pair(2), as_pair((2, 1))
    ((2, 2), (2, 1))
    """
    height, width = (value, value) if isinstance(value, int) else value
    return height, width
