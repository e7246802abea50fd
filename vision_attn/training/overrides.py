"""Parse command line options or Python keyword arguments into a nested configuration."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.terminal import say
from vision_attn.runs.old_formats import renamed_options

SHORT_OPTIONS = {
    "epochs": "trainer.max_epochs",
    "batch_size": "data.batch_size",
    "lr": "model.optimizer.lr",
    "image_size": "data.image_size",
    "backbone": "model.backbone",
    "pooling": "model.pooling",
    "pretrained": "model.pretrained",
    "devices": "trainer.devices",
    "workers": "data.num_workers",
    "seed": "seed_everything",
}
"""Short names of the settings that people use most."""

CLASS_SETTINGS = (
    "data.source",
    "model.optimizer",
    "model.pooling",
    "trainer.accelerator",
    "trainer.callbacks",
    "trainer.logger",
    "trainer.plugins",
    "trainer.profiler",
    "trainer.strategy",
)
"""Settings whose value is a class; `--model.pooling.heads` sets an argument of that class."""

Config = dict[str, Any]
Pair = tuple[str, object]


def options_in(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Settings and their values in the words of a command line; hyphens count as underscores.

    Raises:
        UserError: a word is not an option, or an option has no value.

    >>> list(options_in(["--model.freeze-epochs", "3", "--pooling=average"]))
    [('model.freeze_epochs', '3'), ('model.pooling', 'average')]
    """
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--") or word == "--":
            raise UserError(f"'{word}' is not an option (images are named with --data {word}).")
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if not equals:
            if not left or left[0].startswith("--"):
                raise UserError(f"--{name} needs a value.")
            value = left.pop(0)
        yield full_name(name), value


def full_name(name: str) -> str:
    """The dotted name of a setting; short names such as `epochs` are expanded.

    Raises:
        UserError: the name is misspelled, or was used in an earlier version.

    >>> full_name("epochs"), full_name("model.loss")
    ('trainer.max_epochs', 'model.loss')
    """
    renamed = dict(renamed_options()).get(f"--{name}")
    if renamed:
        raise UserError(f"there is no option --{name}. Did you mean '{renamed}'?")
    if "." not in name and name not in SHORT_OPTIONS:
        hint = did_you_mean(name, SHORT_OPTIONS)
        return name if not hint or name in TOP_LEVEL else unknown_option(name, hint)
    return SHORT_OPTIONS.get(name, name)


TOP_LEVEL = ("calibrate", "compile", "ema", "patience", "seed_everything", "tune")
"""Settings that belong to no section."""


def unknown_option(name: str, hint: str) -> str:
    """Refuse a misspelled short name.

    Raises:
        UserError: always.
    """
    raise UserError(f"there is no option --{name}.{hint.replace(chr(39), chr(39) + '--', 1)}")


def nested(pairs: Iterable[Pair]) -> Config:
    """Nest settings with dotted names; arguments of a class go into its `init_args`.

    >>> nested([("model.pooling", "local_window"), ("model.pooling.window", "3")])
    {'model': {'pooling': {'class_path': 'local_window', 'init_args': {'window': '3'}}}}
    >>> nested([("model.pooling.window", "3")])
    {'model': {'pooling': {'init_args': {'window': '3'}}}}
    """
    config: Config = {}
    for name, value in pairs:
        insert(config, key_path(name), parsed_value(value), name)
    return config


def key_path(name: str) -> list[str]:
    """The keys of a setting in the nested configuration.

    >>> key_path("model.pooling.global_pooling.heads")
    ['model', 'pooling', 'init_args', 'global_pooling', 'init_args', 'heads']
    >>> key_path("model.optimizer.init_args.lr")
    ['model', 'optimizer', 'init_args', 'lr']
    """
    slot = next((s for s in CLASS_SETTINGS if name == s or name.startswith(f"{s}.")), None)
    if slot is None:
        return name.split(".")
    keys = slot.split(".")
    for part in name.removeprefix(slot).split(".")[1:]:
        if keys[-1] != "init_args" and part not in ("class_path", "init_args"):
            keys.append("init_args")
        keys.append(part)
    return keys


def parsed_value(value: object) -> object:
    """Parse a list or dictionary that was typed as text; other values are unchanged.

    Raises:
        UserError: the text is not YAML.

    >>> parsed_value("[8, 16]"), parsed_value("3")
    ([8, 16], '3')
    """
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"cannot read the value {value!r}: {error}") from error
    return value


def insert(config: Config, keys: list[str], value: object, name: str) -> None:
    """Set a value in a nested configuration; if it is given twice, the last value counts."""
    *above, last = keys
    here = config
    for key in above:
        here[key] = as_class(here.get(key))
        here = here[key]
    old = here.get(last)
    of_a_class = ".".join(keys) in CLASS_SETTINGS
    given = old.get("class_path") if isinstance(old, dict) and of_a_class else old
    if given is not None:
        say(f"settings  --{name} is given twice; the last value counts: {value}")
    if isinstance(old, dict) and isinstance(value, str):
        value = old | {"class_path": value}
    elif of_a_class and not name.startswith("trainer.") and isinstance(value, str):
        value = {"class_path": value}
    here[last] = value


def as_class(value: object) -> Config:
    """A class name as `{"class_path": name}`, to which arguments can be added."""
    if isinstance(value, str):
        return {"class_path": value}
    return value if isinstance(value, dict) else {}
