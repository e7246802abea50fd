"""Check which classes an untrusted configuration names: only in slots, each with a narrow list.

A file can come from anyone: a configuration, or the `config.yaml` of a run. LightningCLI would
import and call whatever a value names, in any setting without a narrow type. So a class may stand
only in the slots of the table below, and each slot takes only the classes listed for it. Everything
else is plain data; other classes need `--trust CLASS`. What the user types on the command line is
not checked.
"""

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_attn.core.errors import UserError
from vision_attn.core.registry import available, class_path
from vision_attn.core.terminal import printable
from vision_attn.data.sources.base import ImageSource
from vision_attn.pooling.base import Pooling

WORD = re.compile(r"[a-z0-9_\-]*")
"""A text that selects something without naming a class, such as `auto` or `ddp`."""
IMPORTABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
"""A text that could be the path of a Python object."""
TOP_LEVEL = {
    "model",
    "data",
    "trainer",
    "seed_everything",
    "patience",
    "ema",
    "compile",
    "tune",
    "calibrate",
}
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")


@dataclass(frozen=True)
class Slot:
    """The classes that a setting may name.

    Attributes:
        modules: where the classes are; a class is named by its path or by its last part.
        names: the classes of these modules that are allowed; None allows all subclasses of `base`.
        base: the class that all of them derive from.
        words: whether texts that name no class are allowed.
        nested: whether arguments may be classes of the same slot.
    """

    modules: tuple[str, ...] = ()
    names: frozenset[str] | None = None
    base: str = ""
    words: bool = False
    nested: bool = False


SLOTS = {
    "model.pooling": Slot(base="pooling", nested=True),
    "data.source": Slot(base="source"),
    "model.optimizer": Slot(("torch.optim", "timm.optim"), base="torch.optim.Optimizer"),
    "trainer.callbacks": Slot(
        ("lightning.pytorch.callbacks",),
        frozenset({
            "DeviceStatsMonitor", "EarlyStopping", "GradientAccumulationScheduler",
            "LearningRateMonitor", "ModelCheckpoint", "ModelSummary", "RichModelSummary",
            "RichProgressBar", "StochasticWeightAveraging", "TQDMProgressBar", "Timer",
        }),
    ),
    "trainer.logger": Slot(
        ("lightning.pytorch.loggers",),
        frozenset({
            "CSVLogger", "CometLogger", "MLFlowLogger", "TensorBoardLogger",
            "WandbLogger",
        }),
    ),
    "trainer.strategy": Slot(
        ("lightning.pytorch.strategies",),
        frozenset({"DDPStrategy", "FSDPStrategy", "SingleDeviceStrategy"}),
        words=True,
    ),
    "trainer.plugins": Slot(
        ("lightning.pytorch.plugins.precision", "lightning.pytorch.plugins"),
        frozenset({"DoublePrecision", "HalfPrecision", "MixedPrecision"}),
    ),
    "trainer.profiler": Slot(words=True),
    "trainer.accelerator": Slot(words=True),
}  # fmt: skip
"""The settings of a file that take a class, and which ones; docs/security.md prints this table."""

WRITES = {
    "trainer.default_root_dir", "data.cache", "save_dir", "dirpath", "dir", "log_dir", "filename",
    "sub_dir", "tracking_uri", "artifact_location", "offline_directory",
}  # fmt: skip
"""Settings, and arguments of callbacks and loggers, that say where files are written."""

MOST_SHOWN = 400
"""Characters of a message; the names of settings in it are those of the file."""

MOST_PROCESSES = 1024
"""Devices, or machines, that a file may ask for; each is a process to start or to wait for."""


def check_trusted(config: Mapping[str, Any], trusted: Sequence[str], path: Path) -> None:
    """Refuse a configuration from a file that could run code or write outside the run folder.

    Args:
        config: the settings, as they stand in the file.
        trusted: dotted paths of classes and functions that the user trusts.
        path: the file, for the message.

    Raises:
        UserError: naming the setting, and the option that trusts a class.
    """
    for problem in problems(config, trusted):
        raise UserError(f"{path}: {printable(problem)[:MOST_SHOWN]}")


def problems(config: Mapping[str, Any], trusted: Sequence[str]) -> Iterator[str]:
    """What is not allowed in a configuration from a file, one line each.

    >>> next(problems({"model": {"backbone_options": {"act": {"class_path": "os.system"}}}}, []))
    'model.backbone_options.act names the class os.system, but takes no class.'
    """
    for key, value in config.items():
        if key not in TOP_LEVEL:
            yield f"there is no setting {shown(key)}."
        elif key in ("model", "trainer") and not isinstance(value, Mapping):
            yield f"'{key}' must hold settings, not {shown(value)}."
        elif key == "data" and isinstance(value, str):
            yield from check_class(SLOTS["data.source"], "data", value, trusted)
        else:
            yield from check_value(key, value, trusted)


def check_value(name: str, value: object, trusted: Sequence[str]) -> Iterator[str]:
    """Check a setting and everything in it."""
    slot = SLOTS.get(name.removesuffix("+"))
    if name in ("trainer.devices", "trainer.num_nodes") and is_over(value, MOST_PROCESSES):
        yield f"{name} is over {MOST_PROCESSES:,}; set it on the command line instead."
    elif slot is not None:
        # Callbacks, loggers and plugins can be several.
        for one in value if isinstance(value, list) and not slot.base else [value]:
            yield from check_class(slot, name, one, trusted)
    elif isinstance(value, Mapping):
        yield from check_plain_keys(name, value)
        for key, inner in value.items():
            yield from check_value(f"{name}.{key}", inner, trusted)
    elif isinstance(value, list):
        for one in value:
            yield from check_value(name, one, trusted)
    elif isinstance(value, str):
        yield from check_text(name, value, trusted)


def is_over(value: object, most: int) -> bool:
    """Whether a value is a number over a limit, also as text.

    >>> is_over("9_000", 1024), is_over(2, 1024), is_over("auto", 1024)
    (True, False, False)
    """
    try:
        return float(value) > most  # type: ignore[arg-type]
    except OverflowError:
        return True
    except (TypeError, ValueError):
        return False


def check_plain_keys(name: str, value: Mapping[str, Any]) -> Iterator[str]:
    """Check the keys of settings that are plain data."""
    if "class_path" in value:
        yield f"{name} names the class {shown(value['class_path'])}, but takes no class."
    for key in value:
        if not isinstance(key, str) or key in CLASS_KEYS[1:] or "." in key:
            yield f"{name} has the key {shown(key)}, which is not a setting."


def check_text(name: str, text: str, trusted: Sequence[str]) -> Iterator[str]:
    """Check a text that is plain data."""
    if "class_path" in text or "!!" in text:
        yield f"{name} is {shown(text)}, which hides a class."
    elif name in WRITES and text:
        yield f"{name} writes into {shown(text)}; set it on the command line instead."
    elif name.startswith("trainer.") and IMPORTABLE.fullmatch(text) and text not in trusted:
        yield f"{name} names {text}. If you trust that code: --trust {text}"


def check_class(slot: Slot, name: str, value: object, trusted: Sequence[str]) -> Iterator[str]:
    """Check a class and its arguments at a setting that takes one."""
    if not slot.base and (value is None or isinstance(value, bool)):
        return  # none, or Lightning's usual one
    if isinstance(value, str):
        value = {"class_path": value}
    if (
        not isinstance(value, Mapping)
        or not set(value) <= set(CLASS_KEYS[:2])
        or not isinstance(value.get("class_path", ""), str)
    ):
        yield f"{name} must be a class with its arguments, not {shown(value)}."
        return
    path, arguments = value.get("class_path"), value.get("init_args") or {}
    if path is not None and not is_allowed(slot, path, trusted):
        yield f"{name} names the class {shown(path)}. If you trust that code: --trust {shown(path)}"
    if not isinstance(arguments, Mapping):
        yield f"{name}.init_args must hold arguments, not {shown(arguments)}."
        return
    for key, inner in arguments.items():
        if not is_plain_key(key):
            yield f"{name}.init_args has the key {shown(key)}, which is not an argument."
        yield from check_argument(slot, name, key, inner, trusted)


def check_argument(
    slot: Slot, name: str, key: object, value: object, trusted: Sequence[str]
) -> Iterator[str]:
    """Check one argument of a class: plain data, or a class of the same slot if that can be."""
    setting = f"{name}.{key}"
    is_class = isinstance(value, Mapping) and ("class_path" in value or "init_args" in value)
    if slot.nested and (is_class or (isinstance(value, str) and is_name(slot, value))):
        yield from check_class(slot, setting, value, trusted)
    elif is_class or (isinstance(value, Mapping) and not all(map(is_plain_key, value))):
        yield f"{setting} names a class, but takes none."
    elif name.startswith("trainer.") and key in WRITES and value is not None:
        yield f"{setting} writes into {shown(value)}; set it on the command line instead."
    elif isinstance(value, list | Mapping):
        for inner in value if isinstance(value, list) else value.values():
            yield from check_argument(slot, name, key, inner, trusted)
    elif isinstance(value, str):
        yield from check_argument_text(name, setting, value, trusted)


def check_argument_text(
    name: str, setting: str, text: str, trusted: Sequence[str]
) -> Iterator[str]:
    """Check a text argument of a class; paths are plain data for a data source alone."""
    if "class_path" in text or "!!" in text:
        yield f"{setting} is {shown(text)}, which hides a class."
    elif name == "data.source":
        return
    elif IMPORTABLE.fullmatch(text) and text not in trusted:
        yield f"{setting} names {text}. If you trust that code: --trust {text}"
    elif text.startswith(("/", "~", "\\")) or ".." in text or "://" in text:
        yield f"{setting} is {shown(text)}, which leads out of the run folder."


def is_plain_key(key: object) -> bool:
    """Whether a key of plain data is one, and not a way to name a class."""
    if isinstance(key, int):  # an epoch
        return True
    return isinstance(key, str) and key not in CLASS_KEYS and "." not in key


def is_name(slot: Slot, text: str) -> bool:
    """Whether a text names a class: one of ours, or any by its dotted path."""
    return text in allowed_names(slot) or IMPORTABLE.fullmatch(text) is not None


def is_allowed(slot: Slot, name: object, trusted: Sequence[str]) -> bool:
    """Whether a slot may name that class."""
    if not isinstance(name, str):
        return False
    if name in trusted or (slot.words and WORD.fullmatch(name)):
        return True
    if slot.modules and slot.names is None:
        return is_subclass_in(slot, name)
    if slot.modules:
        module, _, last = name.rpartition(".")
        roots = tuple(f"{root}." for root in slot.modules)
        return last in (slot.names or ()) and (not module or f"{module}.".startswith(roots))
    return name in allowed_names(slot)


def allowed_names(slot: Slot) -> set[str]:
    """The names of our classes for a slot: file names, and dotted paths."""
    bases: dict[str, type[object]] = {"pooling": Pooling, "source": ImageSource}
    if slot.base not in bases:
        return set()
    ours = available(bases[slot.base])
    return {*ours, *map(class_path, ours.values())}


def is_subclass_in(slot: Slot, name: str) -> bool:
    """Whether a name is that of a public subclass of the slot's base in one of its modules."""
    module, _, last = name.rpartition(".")
    base_module, _, base_name = slot.base.rpartition(".")
    base = getattr(importlib.import_module(base_module), base_name)
    for root in slot.modules:
        if module and not f"{module}.".startswith(f"{root}."):
            continue
        found = getattr(importlib.import_module(root), last, None)
        if isinstance(found, type) and issubclass(found, base):
            return True
    return False


def shown(value: object, most: int = 80) -> str:
    r"""A value of an untrusted file for a message: short, printable, on one line.

    >>> shown("a\x1b[2J"), shown("torch.optim.SGD")
    ("'a\\x1b[2J'", 'torch.optim.SGD')
    """
    if isinstance(value, str) and re.fullmatch(r"[\w.]+", value, flags=re.ASCII):
        return value[:most]
    return repr(value)[:most]
