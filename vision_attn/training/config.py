"""Merge configurations: packaged defaults < config files < options of the user.

Settings are merged key by key, with one exception: a class drops the arguments of another class
that it replaces. (jsonargparse would pass them on to the new class: its issue 460.)
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.registry import available, class_path, get_class, with_short_paths
from vision_attn.core.terminal import say
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.metadata_folder import metadata_tables, name_classes
from vision_attn.data.sources.table_rows import TABLES
from vision_attn.pooling.base import Pooling
from vision_attn.runs.yaml_file import load_yaml
from vision_attn.training.config_trust import check_trusted

T = TypeVar("T")
Config = dict[str, Any]
INTERFACES: dict[str, type] = {"data.source": ImageSource, "model.pooling": Pooling}
"""Settings that take one of our classes, by file name or dotted path."""
BACKBONE_SETTINGS = ("backbone_options", "stride", "removed_strides", "pretrained")
"""Settings that belong to one backbone and are dropped when another replaces it."""


def config_folder() -> Path:
    """The folder of the packaged configurations: in the wheel, or beside the package in a clone."""
    installed = Path(__file__).parents[1] / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "configs"


def packaged_configs() -> dict[str, Path]:
    """The packaged configurations by name."""
    return {path.stem: path for path in config_folder().glob("*.yaml")}


def read_config(name: str, trusted: Sequence[str] = ()) -> Config:
    """A configuration file by its path, or a packaged one by its name.

    Raises:
        UserError: there is no such file, it is not YAML with settings in it, or it names a class
            that is not trusted (config files come from other people, too).
    """
    path = Path(name).expanduser()
    if path.is_file():
        return read_config_file(path, trusted)
    packaged = packaged_configs()
    if name not in packaged:
        raise UserError(
            f"--config: '{name}' is neither a file nor the name of a packaged configuration."
            f"{did_you_mean(name, packaged)} Packaged: {', '.join(sorted(packaged))}."
        )
    return read_config_file(packaged[name], trusted)


def read_config_file(path: Path, trusted: Sequence[str]) -> Config:
    """The settings in a file, if the classes that it names are trusted.

    Raises:
        UserError: it names a class that is neither ours nor trusted.
    """
    content = load_yaml(path)
    check_trusted(content, trusted, path)
    return with_full_names(content)


def with_full_names(config: Config) -> Config:
    """Replace file names of our classes (`pooling: average`, `data: shapes`) by class paths."""
    result = dict(config)
    if isinstance(result.get("data"), str):
        result["data"] = {"source": resolve_data(result["data"])}
    for setting, interface in INTERFACES.items():
        section, key = setting.split(".")
        if isinstance(result.get(section), dict) and key in result[section]:
            spec = as_class_spec(interface, result[section][key])
            result[section] = result[section] | {key: spec}
    model = result.get("model")
    if isinstance(model, dict) and "optimizer" in model:
        result["model"] = model | {"optimizer": as_optimizer_spec(model["optimizer"])}
    return result


def with_short_names(config: Config) -> Config:
    """The inverse of `with_full_names`, for files: layouts change, file names stay."""
    result = dict(config)
    for setting, interface in INTERFACES.items():
        section, key = setting.split(".")
        spec = with_short_paths(interface, result[section][key])
        result[section] = result[section] | {key: spec}
    return result


def as_class_spec(interface: type, value: str | Config) -> Config:
    """A class by its path, with its arguments, which may be classes with the same interface."""
    spec: Config = {"class_path": value} if isinstance(value, str) else dict(value)
    arguments = {
        key: as_class_spec(interface, inner) if names_class(interface, inner) else inner
        for key, inner in (spec.get("init_args") or {}).items()
    }
    if "class_path" not in spec:  # arguments alone, for a class that is named elsewhere
        return {"init_args": arguments}
    path = class_path(get_class(interface, spec["class_path"]))
    return {"class_path": path, "init_args": arguments}


def names_class(interface: type, value: object) -> bool:
    """Whether an argument is a class with the same interface, as in `global_local`."""
    if isinstance(value, dict):
        return "class_path" in value or "init_args" in value
    return interface is Pooling and isinstance(value, str) and value in available(Pooling)


def as_optimizer_spec(value: str | Config) -> Config:
    """An optimizer by its path; a name without dots is one of torch.optim."""
    spec: Config = {"class_path": value} if isinstance(value, str) else dict(value)
    name = spec.get("class_path", "")
    if "." not in name and hasattr(torch.optim, name or "-"):
        spec["class_path"] = f"torch.optim.{name}"
    return spec


def resolve_data(name_or_path: str) -> Config:
    """Resolve `--data`: a data set by name or dotted path, a folder, or a table of images.

    Raises:
        UserError: it is none of these.
    """
    known = available(ImageSource)
    path = Path(name_or_path).expanduser()
    if name_or_path in known:
        if path.exists():
            say(
                f"data      '{name_or_path}' is the data set of that name; "
                f"for the folder beside it: --data ./{name_or_path}"
            )
        return {"class_path": class_path(known[name_or_path]), "init_args": {}}
    if path.is_dir() and is_metadata_folder(path):
        return {
            "class_path": class_path(known["metadata_folder"]),
            "init_args": {"root": str(path.resolve())},
        }
    if path.is_dir():
        return {
            "class_path": class_path(known["image_folder"]),
            "init_args": {"root": str(path.resolve())},
        }
    if path.is_file() or path.suffix in TABLES:
        return {
            "class_path": class_path(known["image_table"]),
            "init_args": {"table": str(path.resolve())},
        }
    if "." in name_or_path and os.sep not in name_or_path:
        return {"class_path": class_path(get_class(ImageSource, name_or_path)), "init_args": {}}
    named = sorted(set(known) - {"image_folder", "image_table", "metadata_folder"})
    raise UserError(
        f"--data: '{name_or_path}' is not a folder, table or data set."
        f"{did_you_mean(name_or_path, named)} "
        f"Name a folder of images, a table (CSV), or one of: {', '.join(named)}."
    )


def is_metadata_folder(path: Path) -> bool:
    """Whether a folder's classes are in a metadata table; a line says which of two is used."""
    tables = metadata_tables(path)
    if not tables:
        return False
    table = tables[0].file
    if name_classes(tables):
        say(f"data      the classes are in {table} (rename it to take class folders instead)")
        return True
    say(f"data      {table} has no column of classes: class folders are used")
    return False


def merge(base: Config, over: Config) -> Config:
    """Merge `over` into `base`; a class that replaces another one drops its arguments.

    A value whose key ends with `+` is appended to a list.

    >>> merge({"p": {"class_path": "A", "init_args": {"heads": 2}}}, {"p": {"class_path": "B"}})
    {'p': {'class_path': 'B'}}
    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    >>> merge({"backbone": "resnet18", "stride": 4}, {"backbone": "vgg11"})
    {'backbone': 'vgg11'}
    >>> merge({"callbacks": ["A"]}, {"callbacks+": "B"})
    {'callbacks': ['A', 'B']}
    """
    result = dict(base)
    if base.get("backbone") and over.get("backbone", base["backbone"]) != base["backbone"]:
        result = {key: value for key, value in base.items() if key not in BACKBONE_SETTINGS}
    for key, value in over.items():
        if key.endswith("+"):
            result[key[:-1]] = as_list(result.get(key[:-1])) + as_list(value)
            continue
        old = result.get(key)
        if isinstance(old, str) and isinstance(value, dict) and set(value) == {"init_args"}:
            old = {"class_path": old}
        if isinstance(old, dict) and isinstance(value, dict) and same_class(old, value):
            value = merge(old, value)
        result[key] = value
    return result


def same_class(old: Config, new: Config) -> bool:
    """Whether settings can be merged: the new ones name no class, or the same one."""
    return "class_path" not in new or old.get("class_path") == new["class_path"]


def as_list(value: T | Sequence[T] | None) -> list[T]:
    """None, one value or several values as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [cast(T, value)]
