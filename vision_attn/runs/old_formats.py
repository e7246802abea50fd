"""Read run files of earlier formats, and check the format number.

Format 1 names the project's own classes by file name (`global_attention`). Before it (format 0)
files had no format number, named classes by their dotted paths at that time, and used some other
names. All renamings are in the tables below.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from vision_attn.core.errors import UserError

T = TypeVar("T")
FORMAT = 1
OLD_PATH = re.compile(r"vision_attn\.(?:pooling|data)\.(\w+)\.\w+")
"""The dotted path of one of our classes in format 0."""

CLASSES = {"neighbourhood": "neighborhood", "generalised_mean": "generalized_mean"}
ARGUMENTS = {
    "neighborhood": {"side": "kernel_size"},
    "local_gaussian": {"glimpses": "heads"},
    "global_local": {"whole": "global_pooling", "parts": "local_pooling"},
    "image_folder": {"alone": "default_split"},
    "image_table": {"alone": "default_split"},
}
VALUES = {"parametrised": "parametrized"}
SETTINGS = {
    "model": {
        "unstrided": "removed_strides",
        "stem_rate": "stem_lr_scale",
        "absent_evidence": "absent_evidence_weight",
        "deletion_loss": "deletion_loss_weight",
        "deleted_cells": "max_deleted_cells",
    },
    "data": {"light": "color_jitter", "balance": "balanced_sampling"},
}
TENSORS = {
    "pooling.whole.": "pooling.global_pooling.",
    "pooling.parts.": "pooling.local_pooling.",
    ".windows.centre.": ".windows.center.",
}
"""Parts of the names of a pooling's tensors."""
CALLBACKS = {"ModelKeeper": "SaveBestModel", "Averaging": "EMA"}
BEST_CHECKPOINT = "ModelCheckpoint{'monitor': 'val/"
"""Prefix of the key of a removed callback, which wrote `best.ckpt`; nothing read that file."""


def check_format(content: Mapping[str, Any], path: Path) -> int:
    """The format number of a file; 0 if it has none.

    Raises:
        UserError: a later version wrote the file, or its format is not a number.
    """
    number = content.get("format", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise UserError(f"{path} is damaged: 'format' must be a number, not {number!r}.")
    if number > FORMAT:
        raise UserError(
            f"{path} has format {number}, but this version reads formats up to {FORMAT}; "
            "update with: pip install -U vision-attn"
        )
    return number


def upgrade_classes(value: T) -> T:
    """Rename our classes and their arguments in settings of format 0 to the current names.

    >>> upgrade_classes({"class_path": "vision_attn.pooling.neighbourhood.Neighborhood",
    ...                  "init_args": {"side": 5}})
    {'class_path': 'neighborhood', 'init_args': {'kernel_size': 5}}
    """
    if isinstance(value, list):
        return [upgrade_classes(item) for item in value]  # type: ignore[return-value]
    if not isinstance(value, dict):
        return value
    upgraded = {key: upgrade_classes(item) for key, item in value.items()}
    if isinstance(path := upgraded.get("class_path"), str):
        name = upgrade_class_name(path)
        arguments = upgraded.get("init_args")
        upgraded["class_path"] = name
        if isinstance(arguments, dict):
            upgraded["init_args"] = upgrade_arguments(name, arguments)
    return upgraded  # type: ignore[return-value]


def upgrade_class_name(path: str) -> str:
    """The current file name of one of our classes; any other path is unchanged.

    >>> upgrade_class_name("vision_attn.data.shapes.Shapes"), upgrade_class_name("neighbourhood")
    ('shapes', 'neighborhood')
    """
    found = OLD_PATH.fullmatch(path)
    name = found[1] if found else path
    return CLASSES.get(name, name)


def upgrade_arguments(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one of our classes, by their current names."""
    table = ARGUMENTS.get(name, {})
    renamed = {table.get(key, key): value for key, value in arguments.items()}
    for key, value in renamed.items():
        if isinstance(value, str) and (name == "global_local" or value in VALUES):
            renamed[key] = VALUES.get(value, upgrade_class_name(value))
    return renamed


def upgrade_spec(content: dict[str, Any]) -> dict[str, Any]:
    """Convert the content of a `model.json` from format 0 to format 1."""
    upgraded = upgrade_classes(content)
    if "unstrided" in upgraded:
        upgraded["removed_strides"] = upgraded.pop("unstrided")
    if "independent" in upgraded:
        upgraded["activation"] = "sigmoid" if upgraded.pop("independent") else "softmax"
    return upgraded


def upgrade_config(config: dict[str, Any]) -> dict[str, Any]:
    """Convert settings, such as a `config.yaml`, from format 0 to format 1.

    >>> upgrade_config({"model": {"stem_lr_scale": 0.1, "pooling": "neighbourhood"}})
    {'model': {'stem_lr_scale': 0.1, 'pooling': 'neighborhood'}}
    """
    upgraded = upgrade_classes(config)
    for section, table in SETTINGS.items():
        if isinstance(upgraded.get(section), dict):
            settings = upgraded[section]
            upgraded[section] = {table.get(key, key): value for key, value in settings.items()}
    model = upgraded.get("model")
    if isinstance(model, dict) and isinstance(model.get("pooling"), str):
        model["pooling"] = upgrade_class_name(model["pooling"])
    return upgraded


def upgrade_tensor_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Tensors by their current names; other names are unchanged.

    >>> upgrade_tensor_names({"pooling.whole.queries": 1, "head.bias": 2})
    {'pooling.global_pooling.queries': 1, 'head.bias': 2}
    """
    return {current_tensor_name(name): tensor for name, tensor in tensors.items()}


def upgrade_checkpoint(content: dict[str, Any]) -> dict[str, Any]:
    """Rename tensors and callbacks in a checkpoint of format 0 to the current names.

    >>> upgraded = upgrade_checkpoint({"state_dict": {}, "callbacks": {"ModelKeeper": {"best": 1}}})
    >>> upgraded["callbacks"]
    {'SaveBestModel': {'best': 1}}
    """
    callbacks = {
        CALLBACKS.get(key, key): state
        for key, state in content["callbacks"].items()
        if not key.startswith(BEST_CHECKPOINT)
    }
    tensors = {
        key: upgrade_tensor_names(content[key])
        for key in ("state_dict", "current_model_state")
        if key in content
    }
    return content | tensors | {"callbacks": callbacks}


def current_tensor_name(name: str) -> str:
    """The current name of a tensor in a model or, with a prefix, in a checkpoint."""
    if name.removeprefix("model.").startswith("pooling."):
        for old, new in TENSORS.items():
            name = name.replace(old, new)
    return name


def renamed_options() -> Iterator[tuple[str, str]]:
    """Pairs of a command line option of format 0 and its current name.

    >>> dict(renamed_options())["--model.unstrided"]
    '--model.removed_strides'
    """
    for section, table in SETTINGS.items():
        for old, new in table.items():
            yield f"--{section}.{old}", f"--{section}.{new}"
    for name, table in ARGUMENTS.items():
        slot = "data.source" if name.startswith("image_") else "model.pooling"
        for old, new in table.items():
            yield f"--{slot}.{old}", f"--{slot}.{new}"
