"""Check that an untrusted configuration file names only known or trusted classes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_attn.core.errors import UserError
from vision_attn.runs.yaml_file import every_part

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
"""Settings whose text may be the name of a class, which would be imported."""
TRUSTED_ROOTS = ("vision_attn.", "torch.", "timm.", "lightning.", "torchmetrics.")


def check_trusted(config: Mapping[str, Any], trusted: Sequence[str], path: Path) -> None:
    """Refuse a configuration from a file that names classes that are neither ours nor trusted.

    Arguments of the trainer and the optimizer may be functions, too: Lightning would import them
    and call them.

    Raises:
        UserError: naming the class, and the option that trusts it.
    """
    functions = dotted_names([config.get("trainer"), (config.get("model") or {}).get("optimizer")])
    for name in (*named_classes(config), *functions):
        if "." in name and not name.startswith(TRUSTED_ROOTS) and name not in trusted:
            raise UserError(
                f"{path} names the class {name}. If you trust that code: --trust {name}"
            )


def dotted_names(settings: object) -> Iterator[str]:
    """All strings in nested settings that could be the dotted path of a Python object.

    >>> list(dotted_names([{"on_fit_start": "a.b"}, "logs/c.d", "e", {"x": [1, "f.g"]}]))
    ['f.g', 'a.b']
    """
    for part in every_part(settings):
        if isinstance(part, str) and "." in part and all(map(str.isidentifier, part.split("."))):
            yield part


def named_classes(config: object) -> Iterator[str]:
    """All strings in a configuration that would be imported as a class.

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
