"""Safely read YAML configuration files of any format version, with a size limit."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from vision_attn.core.errors import UserError, one_line
from vision_attn.runs.old_formats import check_format, upgrade_config

MOST_PARTS = 100_000  # aliases can expand a small YAML file to billions of values


def load_yaml(path: Path) -> dict[str, Any]:
    """Read the settings in a YAML file; empty sections are left out.

    Raises:
        UserError: the file is not YAML, contains no settings, is too large, or has a later format.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {one_line(error)}") from error
    if sum(1 for _ in islice(every_part(content), MOST_PARTS + 1)) > MOST_PARTS:
        raise UserError(f"{path} is refused: it contains more than {MOST_PARTS:,} settings.")
    if not isinstance(content, dict):
        raise UserError(f"{path} contains no settings (expected `model:`, `data:`, `trainer:`).")
    content = content if check_format(content, path) else upgrade_config(content)
    return {key: value for key, value in content.items() if value is not None and key != "format"}


def every_part(content: object) -> Iterator[object]:
    """All values of nested settings; a value that YAML repeats by reference counts each time.

    >>> list(every_part({"a": [1, 2]}))
    [{'a': [1, 2]}, [1, 2], 2, 1]
    """
    left = [content]
    while left:
        part = left.pop()
        yield part
        left += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
