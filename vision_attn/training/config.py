"""Puts one configuration together: packaged defaults < config files < command line.

Settings are merged key by key, with one exception: naming another class drops the arguments of
the class that was there. (jsonargparse would hand them on to the new class.)
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.registry import catalog, class_path, resolve, with_short_paths
from vision_attn.data.sources.base import ImageSource
from vision_attn.pooling.base import Pooling
from vision_attn.runs.yaml_file import every_part, load_yaml

Config = dict[str, Any]
SLOTS: dict[str, type] = {"data.source": ImageSource, "model.pooling": Pooling}
OF_A_BACKBONE = ("backbone_options", "stride", "unstrided", "pretrained")
"""Settings of one backbone, which another does not take over."""
CLASS_KEYS = (
    "class_path",
    "pooling",
    "source",
    "optimizer",
    "logger",
    "callbacks",
    "strategy",
    "profiler",
    "plugins",
    "accelerator",
)
"""Settings whose text may name a class to import."""
TRUSTED_ROOTS = ("vision_attn.", "torch.", "timm.", "lightning.", "torchmetrics.")


def config_folder() -> Path:
    """Where the packaged configs are: in the wheel, or beside the package in a checkout."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def packaged_configs() -> dict[str, Path]:
    """The packaged configurations by name."""
    return {path.stem: path for path in config_folder().glob("*.yaml")}


def read_config(name: str, trusted: Sequence[str] = ()) -> Config:
    """A config file by path, or a packaged one by name, with short names of classes resolved.

    Raises:
        UserError: there is no such file, it is not YAML with settings in it, or it names a class
            that is neither ours nor trusted: files are handed on, so nothing is imported for one.
    """
    place = Path(name).expanduser()
    if not place.is_file():
        packaged = packaged_configs()
        if name not in packaged:
            hint = did_you_mean(name, packaged)
            raise UserError(
                f"--config: there is no file '{name}', nor a config of that name.{hint} "
                f"The packaged ones: {', '.join(sorted(packaged))}."
            )
        place = packaged[name]
    return read_stored_config(place, trusted)


def read_stored_config(place: Path, trusted: Sequence[str]) -> Config:
    """A configuration in a file, after a look at the classes that it names.

    Raises:
        UserError: it names a class that is neither ours nor trusted.
    """
    content = load_yaml(place)
    check_trusted(content, trusted, place)
    return with_full_names(content)


def with_full_names(config: Config) -> Config:
    """Classes given by file name (`pooling: average`, `data: shapes`) as class paths."""
    result = dict(config)
    if isinstance(result.get("data"), str):
        result["data"] = {"source": data_source(result["data"])}
    for slot, promise in SLOTS.items():
        section, key = slot.split(".")
        if isinstance(result.get(section), dict) and key in result[section]:
            spec = as_class_spec(promise, result[section][key])
            result[section] = result[section] | {key: spec}
    return result


def with_short_names(config: Config) -> Config:
    """The inverse of `with_full_names`, for files: layouts change, file names stay."""
    result = dict(config)
    for slot, promise in SLOTS.items():
        section, key = slot.split(".")
        result[section] = result[section] | {key: with_short_paths(promise, result[section][key])}
    return result


def as_class_spec(promise: type, value: str | Config) -> Config:
    """`name`, or `{class_path: name, init_args: ...}`, with the full path; nested ones too."""
    spec: Config = {"class_path": value} if isinstance(value, str) else dict(value)
    if "class_path" not in spec:  # arguments alone, for the class that another file names
        return spec
    spec["class_path"] = class_path(resolve(promise, spec["class_path"]))
    arguments = {
        key: as_class_spec(promise, inner) if names_class(promise, inner) else inner
        for key, inner in (spec.get("init_args") or {}).items()
    }
    return {"class_path": spec["class_path"], "init_args": arguments}


def names_class(promise: type, value: Any) -> bool:
    """Whether an argument is itself a class of the same kind, as in `global_local`."""
    if isinstance(value, dict):
        return "class_path" in value
    return promise is Pooling and isinstance(value, str) and value in catalog(promise)


def data_source(name_or_folder: str) -> Config:
    """What `--data` names: a data set by its name or dotted path, a folder, or a table of images.

    Raises:
        UserError: none of these.
    """
    known = catalog(ImageSource)
    if name_or_folder in known:
        return {"class_path": class_path(known[name_or_folder]), "init_args": {}}
    if Path(name_or_folder).expanduser().is_dir():
        root = {"root": str(Path(name_or_folder).expanduser().resolve())}
        return {"class_path": class_path(known["image_folder"]), "init_args": root}
    table = Path(name_or_folder).expanduser()
    if table.is_file() or table.suffix in (".csv", ".tsv", ".parquet"):
        listed = {"table": str(table.resolve())}
        return {"class_path": class_path(known["image_table"]), "init_args": listed}
    if "." in name_or_folder and os.sep not in name_or_folder:
        return {"class_path": class_path(resolve(ImageSource, name_or_folder)), "init_args": {}}
    named = sorted(set(known) - {"image_folder", "image_table"})
    hint = did_you_mean(name_or_folder, named)
    raise UserError(
        f"--data: '{name_or_folder}' is no folder, table or data set.{hint} "
        f"Name a folder of images, a table (CSV), or one of: {', '.join(named)}."
    )


def merge(base: Config, over: Config) -> Config:
    """`over` laid on `base`; a class laid on another class leaves nothing of it.

    >>> merge({"p": {"class_path": "A", "init_args": {"heads": 2}}}, {"p": {"class_path": "B"}})
    {'p': {'class_path': 'B'}}
    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    >>> merge({"backbone": "resnet18", "stride": 4}, {"backbone": "vgg11"})
    {'backbone': 'vgg11'}
    """
    result = dict(base)
    if base.get("backbone") and over.get("backbone", base["backbone"]) != base["backbone"]:
        result = {key: value for key, value in base.items() if key not in OF_A_BACKBONE}
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and same_class(old, value):
            value = merge(old, value)
        result[key] = value
    return result


def same_class(old: Config, new: Config) -> bool:
    """Whether settings belong together: no classes named, or one and the same."""
    return "class_path" not in new or old.get("class_path") == new["class_path"]


def typed_keys(words: Sequence[str]) -> list[str]:
    """The settings that a command line names.

    >>> typed_keys(["--trainer.max_epochs", "3", "--model.pooling=average"])
    ['trainer.max_epochs', 'model.pooling']
    """
    return [word[2:].partition("=")[0] for word in words if word.startswith("--")]


def split_words(words: Sequence[str]) -> list[str]:
    """`--key=value` as two words, so that there is one form to look at.

    >>> split_words(["--a=1", "--b", "2"])
    ['--a', '1', '--b', '2']
    """
    return [
        part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])
    ]


def apply_words(config: Config, words: Sequence[str]) -> tuple[Config, list[str]]:
    """Give way to the classes that the command line names.

    Returns:
        The configuration without what another class leaves behind, and the words with class paths
        in the place of short names.
    """
    words = split_words(words)
    for place, word in enumerate(words[:-1]):
        key, value = word.removeprefix("--"), words[place + 1]
        if not word.startswith("--") or value.startswith("--"):
            continue
        for slot, promise in SLOTS.items():
            inner = key.startswith(f"{slot}.") and names_class(promise, value)
            if key == slot or inner:
                value = words[place + 1] = class_path(resolve(promise, value))
        if key == "model.backbone":
            config = merge(config, {"model": {"backbone": value}})
        config = without_other_class(config, key.split("."), value)
    return config, words


def without_other_class(config: Config, path: list[str], value: str) -> Config:
    """The configuration without the class at `path`, if `value` names a different one."""
    here = config.get(path[0])
    if not isinstance(here, dict):
        return config
    if len(path) > 1:
        return config | {path[0]: without_other_class(here, path[1:], value)}
    if "class_path" in here and here["class_path"].split(".")[-1] != value.split(".")[-1]:
        return {key: inner for key, inner in config.items() if key != path[0]}
    return config


def check_trusted(config: Config, trusted: Sequence[str], place: Path) -> None:
    """Refuse a configuration in a file that names classes which are neither ours nor trusted.

    Trainers and optimisers take functions, too, by arguments of any name: callbacks of Lightning
    would import and call them.

    Raises:
        UserError: naming the class and the option that trusts it.
    """
    functions = dotted_names([config.get("trainer"), (config.get("model") or {}).get("optimizer")])
    for name in (*named_classes(config), *functions):
        if "." in name and not name.startswith(TRUSTED_ROOTS) and name not in trusted:
            raise UserError(
                f"{place} names the class {name}. If you trust that code: --trust {name}"
            )


def dotted_names(settings: Any) -> Iterator[str]:
    """Every text in nested settings that could be imported, wherever it stands.

    >>> list(dotted_names([{"on_fit_start": "a.b"}, "logs/c.d", "e", {"x": [1, "f.g"]}]))
    ['f.g', 'a.b']
    """
    for part in every_part(settings):
        if isinstance(part, str) and "." in part and all(map(str.isidentifier, part.split("."))):
            yield part


def named_classes(config: Any) -> Iterator[str]:
    """Every text in a configuration that would be imported as a class.

    >>> list(named_classes({"trainer": {"callbacks": [{"class_path": "a.B"}, "c.D"]}}))
    ['c.D', 'a.B']
    """
    if isinstance(config, list):
        for item in config:
            yield from named_classes(item)
    if isinstance(config, dict):
        for key, value in config.items():
            if key in CLASS_KEYS:
                texts = value if isinstance(value, list) else [value]
                yield from (text for text in texts if isinstance(text, str))
            yield from named_classes(value)
