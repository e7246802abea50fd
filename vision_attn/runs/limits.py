"""Size limits for untrusted models, checked while a model is built."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from vision_attn.core.errors import UserError

PARAMETERS = 2**28  # 1 GiB of float32
MODULES = 2**15  # the deepest networks of timm have about 2,000
NUMBER = 2**13  # largest argument of a backbone or pooling: heads, channels, img_size
IMAGE_SIZE = 4096  # largest height and width in pixels; half of it per removed stride


@contextmanager
def limit_model_size(parameters: int = PARAMETERS, what: str = "the model") -> Iterator[None]:
    """A context in which building a model with too many modules, parameters or buffers fails.

    torch initializes a layer's tensors only after it has registered them, so a model that is too
    large is refused before it takes memory.

    Args:
        parameters: the largest number of parameters, and of values in buffers.
        what: the model's name in the error.

    Raises:
        UserError: the model is too large.

    >>> from torch import nn
    >>> with limit_model_size(parameters=11): nn.Linear(3, 4)
    Traceback (most recent call last):
    vision_attn.core.errors.UserError: the model is refused: it has more than 11 parameters.
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
        yield
    finally:
        for hook in hooks:
            hook.remove()


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
