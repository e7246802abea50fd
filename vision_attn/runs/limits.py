"""How large a stranger's model may be, checked while it is built and before it is filled."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from vision_attn.core.errors import UserError

PARAMETERS = 2**28  # a GiB of float32
MODULES = 2**15  # the deepest networks of timm have some 2,000
NUMBER = 2**16  # largest argument of a backbone or pooling: heads, channels, layers
IMAGE_SIZE = 4096  # pixels a side


@contextmanager
def limit_model_size(parameters: int = PARAMETERS, what: str = "the model") -> Iterator[None]:
    """Stop whoever builds more modules or parameters than that.

    torch fills a layer's tensors only after it has registered them, so what is too large is
    refused before it takes memory.

    Raises:
        UserError: it became too large.

    >>> from torch import nn
    >>> with limit_model_size(parameters=11): nn.Linear(3, 4)
    Traceback (most recent call last):
    vision_attn.core.errors.UserError: the model is refused: it has more than 11 parameters.
    """
    counted = {"modules": 0, "parameters": 0}

    def count(kind: str, more: int, most: int) -> None:
        counted[kind] += more
        if counted[kind] > most:
            raise UserError(f"{what} is refused: it has more than {most:,} {kind}.")

    hooks = [
        register_module_module_registration_hook(lambda *_: count("modules", 1, MODULES)),
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
    """The largest number in nested settings, by size.

    >>> largest_number({"channels": [8, -70_000], "name": "x"})
    70000
    """
    if isinstance(value, dict):
        return max(map(largest_number, value.values()), default=0)
    if isinstance(value, list):
        return max(map(largest_number, value), default=0)
    return abs(value) if isinstance(value, (int, float)) else 0
