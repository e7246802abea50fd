"""A short summary of a run's settings, for reports."""

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

from vision_attn.data.datamodule import ImageDataModule
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.models.summary import describe_model

About = tuple[str, str, bool]
"""Name, text, and whether it was chosen automatically."""

ARGUMENTS = ("lr", "momentum", "weight_decay", "root")  # arguments of classes that are shown
SETTINGS = {
    "batch size": "data.batch_size",
    "epochs, at most": "trainer.max_epochs",
    "time, at most": "trainer.max_time",
    "precision": "trainer.precision",
    "optimizer": "model.optimizer",
    "loss": "model.loss",
    "label smoothing": "model.label_smoothing",
    "pretrained": "model.pretrained",
    "frozen epochs": "model.freeze_epochs",
    "removed strides": "model.removed_strides",
}


def about_run(
    config: Mapping[str, Any],
    data: ImageDataModule,
    model: AttentionClassifier,
    chosen: Collection[str],
) -> list[About]:
    """Summarize a run: its images, splits, model and most important settings."""
    pooling = config["model"]["pooling"]["class_path"].rpartition(".")[2]
    return [
        ("images", source_of(config), False),
        ("splits", data.describe(), False),
        ("model", describe_model(model, data.image_size, pooling), False),
        *about_settings(config, chosen),
    ]


def about_settings(config: Mapping[str, Any], chosen: Collection[str]) -> list[About]:
    """The most important settings; those that are turned off are left out.

    >>> about_settings({"data": {"batch_size": 64}, "model": {"freeze_epochs": 0}},
    ...                ["data.batch_size"])
    [('batch size', '64', True)]
    """
    found = [(name, key, value_at(config, key)) for name, key in SETTINGS.items()]
    return [(name, describe_value(value), key in chosen) for name, key, value in found if value]


def value_at(config: Mapping[str, Any], name: str) -> Any:  # whatever YAML can hold
    """The value of a setting by its dotted name; None if it is not set.

    >>> value_at({"model": {"loss": "cross_entropy"}}, "model.loss")
    'cross_entropy'
    """
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def describe_value(value: object) -> str:
    r"""Describe a value shortly: a class with its main arguments, the last part of a path.

    Reports are sent to other people, so folders of this machine are left out.

    >>> describe_value({"class_path": "torch.optim.AdamW",
    ...                 "init_args": {"lr": 0.001, "maximize": False}})
    'AdamW, lr 0.001'
    >>> describe_value("/home/anna/weights.safetensors"), describe_value("C:\\anna\\bees")
    ('weights.safetensors', 'bees')
    """
    if isinstance(value, str):
        return PurePath(value.replace("\\", "/")).name or value
    if not (isinstance(value, dict) and "class_path" in value):
        return "yes" if value is True else str(value)
    given = value.get("init_args")
    arguments = given if isinstance(given, dict) else {}
    short = [f"{key} {describe_value(arguments[key])}" for key in ARGUMENTS if arguments.get(key)]
    return ", ".join([str(value["class_path"]).split(".")[-1], *short])


def source_of(config: Mapping[str, Any]) -> str:
    """The source of the images: the name of a folder, a table or a data set.

    >>> source_of({"data": {"source": {"init_args": {"root": "/home/anna/beetles"}}}})
    'beetles'
    """
    source = value_at(config, "data.source") or {}
    arguments = source.get("init_args") or {}
    path = arguments.get("table") or arguments.get("root")
    return describe_value(str(path or source.get("class_path", "").split(".")[-1]))
