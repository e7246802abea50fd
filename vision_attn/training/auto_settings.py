"""Record which settings were chosen automatically, in the first line of `config.yaml`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from vision_attn.runs.old_formats import FORMAT, renamed_options

HEAD = "# chosen automatically: "


def auto_settings(given: dict[str, Any], resolved: dict[str, Any]) -> list[str]:
    """The settings that the user left open (None) and that were chosen automatically.

    >>> auto_settings({"data": {"batch_size": None}}, {"data": {"batch_size": 64, "seed": 0}})
    ['data.batch_size']
    """
    open_keys = {key for key, value in flat(given) if value is None}
    return [key for key, value in flat(resolved) if value is not None and key in open_keys]


def flat(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested settings to dotted names and values.

    >>> list(flat({"model": {"stride": None, "pooling": {"class_path": "A"}}}))
    [('model.stride', None), ('model.pooling.class_path', 'A')]
    """
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{key}.")
        else:
            yield above + key, value


def config_text(settings: dict[str, Any], chosen: list[str]) -> str:
    """The text of `config.yaml`: all settings, and in a comment which were chosen automatically."""
    head = f"{HEAD}{', '.join(chosen)}\n" if chosen else ""
    return head + yaml.safe_dump({"format": FORMAT} | settings, sort_keys=False)


def recorded_auto_settings(config: Path) -> list[str]:
    """The settings that the comment in a `config.yaml` lists; none if there is no such comment."""
    if not config.is_file():
        return []
    lines = config.read_text(encoding="utf-8").splitlines()
    heads = [line.removeprefix(HEAD) for line in lines[:1] if line.startswith(HEAD)]
    renamed = {old[2:]: new[2:] for old, new in renamed_options()}
    return [renamed.get(name, name) for name in heads[0].split(", ")] if heads else []
