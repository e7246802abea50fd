"""What was trained on what, in short."""

from collections.abc import Collection
from pathlib import PurePath
from typing import Any

About = tuple[str, str, bool]
"""Name, text, and whether it was chosen automatically."""

OF_A_CLASS = ("lr", "momentum", "weight_decay")
SHOWN = {
    "backbone": "model.backbone",
    "image size": "data.image_size",
    "batch size": "data.batch_size",
    "epochs, at most": "trainer.max_epochs",
    "time, at most": "trainer.max_time",
    "precision": "trainer.precision",
    "optimiser": "model.optimizer",
    "loss": "model.loss",
    "label smoothing": "model.label_smoothing",
    "pretrained": "model.pretrained",
    "frozen epochs": "model.freeze_epochs",
    "strides left out": "model.unstrided",
    "seed": "seed_everything",
}


def about_settings(config: dict[str, Any], chosen: Collection[str]) -> list[About]:
    """The settings that matter, of a run's whole configuration; those left out are off.

    >>> about_settings({"data": {"image_size": 64}, "model": {"freeze_epochs": 0}},
    ...                ["data.image_size"])
    [('image size', '64', True)]
    """
    found = [(name, key, at(config, key.split("."))) for name, key in SHOWN.items()]
    return [(name, told(value), key in chosen) for name, key, value in found if value]


def at(config: dict[str, Any], path: list[str]) -> Any:
    """The value at a path; None where there is none."""
    value = config.get(path[0])
    return at(value, path[1:]) if len(path) > 1 and isinstance(value, dict) else value


def told(value: Any) -> str:
    """A value in short; a class by its name and the arguments that matter most, a path by its end.

    A page is sent to others, whom folders of its author's machine tell nothing they should know.

    >>> told({"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001, "maximize": False}})
    'AdamW, lr 0.001'
    >>> told("/home/anna/weights.safetensors")
    'weights.safetensors'
    """
    if isinstance(value, str):
        return PurePath(value).name or value
    if not (isinstance(value, dict) and "class_path" in value):
        return "yes" if value is True else str(value)
    arguments = value.get("init_args") or {}
    plain = [f"{key} {arguments[key]}" for key in OF_A_CLASS if arguments.get(key)]
    return ", ".join([value["class_path"].split(".")[-1], *plain])


def source_of(config: dict[str, Any]) -> str:
    """Where the images come from: the name of a folder, a table or a data set.

    >>> source_of({"data": {"source": {"init_args": {"root": "/home/anna/beetles"}}}})
    'beetles'
    """
    source = config.get("data", {}).get("source") or {}
    arguments = source.get("init_args") or {}
    place = arguments.get("table") or arguments.get("root")
    return told(str(place or source.get("class_path", "").split(".")[-1]))
