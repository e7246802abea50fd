"""An image classifier that shows where it looked, and can prove it.

>>> import vision_attn
>>> vision_attn.load("nowhere")
Traceback (most recent call last):
vision_attn.core.errors.UserError: there is no run nowhere; name a folder that `fit` made.
"""

import importlib
from typing import TYPE_CHECKING

from vision_attn.core.errors import UserError
from vision_attn.core.version import __version__

if TYPE_CHECKING:
    from vision_attn.export.hub_model import HubClassifier
    from vision_attn.inference.explanation import Explanation
    from vision_attn.inference.prediction import Prediction
    from vision_attn.inference.trained_model import TrainedModel, load
    from vision_attn.training.python_fit import fit

__all__ = [
    "Explanation",
    "HubClassifier",
    "Prediction",
    "TrainedModel",
    "UserError",
    "__version__",
    "fit",
    "load",
]

_MODULES = {
    "Explanation": "inference.explanation",
    "HubClassifier": "export.hub_model",
    "Prediction": "inference.prediction",
    "TrainedModel": "inference.trained_model",
    "fit": "training.python_fit",
    "load": "inference.trained_model",
}


def __getattr__(name: str) -> object:
    """Import a name when it is used: importing torch takes seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
