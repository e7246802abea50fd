"""Settings of a pooling to which the probe added the stage before the last, and back again."""

from typing import Any

from vision_attn.core.registry import class_path
from vision_attn.pooling.base import Pooling
from vision_attn.pooling.two_stages import TwoStages
from vision_attn.training.config import Config, as_class_spec

POOLING = "model.pooling"
NAME = "two_stages"


def with_earlier_stage(pooling: dict[str, Any], heads: int) -> dict[str, Any]:
    """The settings of a pooling of both stages.

    >>> with_earlier_stage({"class_path": "average", "init_args": {}}, 8)["init_args"]
    {'last': {'class_path': 'average', 'init_args': {}}, 'heads': 8}
    """
    return {"class_path": NAME, "init_args": {"last": pooling, "heads": heads}}


def without_earlier_stage(config: Config) -> Config:
    """All settings, with the pooling of the last stage alone.

    >>> both = with_earlier_stage({"class_path": "average", "init_args": {}}, 8)
    >>> without_earlier_stage({"model": {"pooling": both}})["model"]["pooling"]["class_path"]
    'vision_attn.pooling.average.Average'
    """
    spec = as_class_spec(Pooling, config["model"]["pooling"])
    if spec["class_path"] == class_path(TwoStages):
        spec = spec["init_args"]["last"]
    return config | {"model": config["model"] | {"pooling": spec}}
