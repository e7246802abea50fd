"""An image classifier that shows where it looked, and can prove it.

>>> import vision_attn
>>> vision_attn.load("nowhere")
Traceback (most recent call last):
vision_attn.core.errors.UserError: nowhere holds no model: model.json is missing. Did fit end?
"""

import importlib
from typing import TYPE_CHECKING, Any

from vision_attn.core.version import __version__

if TYPE_CHECKING:
    from vision_attn.inference.explanation import Explanation
    from vision_attn.inference.prediction import Prediction
    from vision_attn.inference.trained_model import TrainedModel, load

__all__ = ["Explanation", "Prediction", "TrainedModel", "__version__", "load"]

_HOMES = {"Explanation": "explanation", "Prediction": "prediction"}


def __getattr__(name: str) -> Any:
    """Import what is used when it is used: torch takes seconds, and `--help` needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(
        importlib.import_module(f"{__name__}.inference.{_HOMES.get(name, 'trained_model')}"), name
    )


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
