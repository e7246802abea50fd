"""Size limits for untrusted models, checked while a model is built and before it is used."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from vision_attn.core.errors import UserError

PARAMETERS = 2**28  # 1 GiB of float32
VALUES = 2**27  # of one tensor: half a GiB of float32
MODULES = 2**15  # the deepest networks of timm have about 2,000
NUMBER = 2**13  # largest argument of a backbone or pooling: heads, channels, img_size
IMAGE_SIZE = 4096  # largest height and width in pixels; half of it per removed stride


@contextmanager
def limit_model_size(parameters: int = PARAMETERS, what: str = "the model") -> Iterator[None]:
    """A context in which building a model with too many modules, parameters or buffers fails.

    The size of every tensor is known before it is made, so a model that is too large is refused
    before it takes memory.

    Args:
        parameters: the largest number of parameters, and of values in buffers; one tensor may have
            half as many.
        what: the model's name in the error.

    Raises:
        UserError: the model is too large.

    >>> from torch import nn
    >>> with limit_model_size(parameters=24): nn.Linear(3, 4), nn.Linear(3, 4)
    Traceback (most recent call last):
    vision_attn.core.errors.UserError: the model is refused: it has more than 24 parameters.
    """
    counted = {"modules": 0, "parameters": 0, "values in buffers": 0}

    def count(kind: str, number: int, limit: int) -> None:
        counted[kind] += number
        if counted[kind] > limit:
            raise UserError(f"{what} is refused: it has more than {limit:,} {kind}.")

    hooks = [
        register_module_module_registration_hook(lambda *_: count("modules", 1, MODULES)),
        register_module_buffer_registration_hook(
            lambda module, name, value: count(
                "values in buffers", 0 if value is None else value.numel(), parameters
            )
        ),
        register_module_parameter_registration_hook(
            lambda module, name, value: count(
                "parameters", 0 if value is None else value.numel(), parameters
            )
        ),
    ]
    try:
        with TensorLimit(parameters // 2, what):
            yield
    finally:
        for hook in hooks:
            hook.remove()


class TensorLimit(TorchDispatchMode):
    """A context in which no operation may make a tensor of more than `values` values.

    Args:
        values: the largest number of values.
        what: the model's name in the error.

    Raises:
        UserError: an operation would make a larger tensor; it has not been run.

    >>> with TensorLimit(5): torch.zeros(2, 3)
    Traceback (most recent call last):
    vision_attn.core.errors.UserError: the model is refused: it has a tensor of 6 values.
    """

    def __init__(self, values: int = VALUES, what: str = "the model") -> None:
        super().__init__()
        self.values, self.what = values, what

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run an operation without values first, on the meta device; its sizes are then known."""
        kwargs = kwargs or {}
        for size in output_sizes(func, args, kwargs):
            if size > self.values:
                raise UserError(f"{self.what} is refused: it has a tensor of {size:,} values.")
        return func(*args, **kwargs)


def output_sizes(
    func: Any,  # an operator of torch, whose class has no public name
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> list[int]:
    """Numbers of values in the tensors that an operation makes; [] if it writes into its inputs."""
    if func._schema.is_mutable:
        return []
    on_meta = {"device": torch.device("meta")} if takes_device(func) else {}
    inputs, named = tree_map_only(Tensor, without_values, (args, dict(kwargs)))
    try:
        outputs = func(*inputs, **{**named, **on_meta})
    except (NotImplementedError, RuntimeError):  # sizes that depend on values, as of `nonzero`
        return []
    return [output.numel() for output in tree_leaves(outputs) if isinstance(output, Tensor)]


def takes_device(func: Any) -> bool:
    """Whether an operator of torch makes a tensor on a device that it is given."""
    return any(argument.name == "device" for argument in func._schema.arguments)


def without_values(tensor: Tensor) -> Tensor:
    """A tensor of the same shape without values, on the meta device."""
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")


def check_forward(model: nn.Module, image_size: int, what: str = "the model") -> None:
    """Refuse a model whose feature maps of one image are too large, without running it.

    Args:
        model: any model of images.
        image_size: height and width of its images in pixels.
        what: the model's name in the error.

    Raises:
        UserError: a tensor of the forward pass has more than `VALUES` values.

    >>> check_forward(nn.Conv2d(3, 4, 1), image_size=1000)
    >>> check_forward(nn.Conv2d(3, 400, 1), image_size=1000)
    Traceback (most recent call last):
    vision_attn.core.errors.UserError: the model is refused: it has a tensor of 400,000,000 values.
    """
    tensors = chain(model.named_parameters(), model.named_buffers())
    weights = {name: without_values(tensor) for name, tensor in tensors}
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    with torch.no_grad(), eval_mode(model), TensorLimit(VALUES, what):
        functional_call(model, weights, (image,))


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """A context in which a model is in eval mode; afterwards each module is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def largest_number(value: object) -> float:
    """The largest absolute value of the numbers in nested settings.

    >>> largest_number({"channels": [8, -70_000], "name": "x"})
    70000
    """
    if isinstance(value, dict):
        return max(map(largest_number, value.values()), default=0)
    if isinstance(value, list):
        return max(map(largest_number, value), default=0)
    return abs(value) if isinstance(value, (int, float)) else 0
