"""Configuration files: YAML of bounded size, of any format there has been."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from vision_attn.core.errors import UserError
from vision_attn.runs.old_formats import check_format, upgrade_classes

MOST_PARTS = 100_000  # a small file can repeat its parts into billions ("billion laughs")


def load_yaml(place: Path) -> dict[str, Any]:
    """The settings in a file, as they stand; empty sections are left out."""
    try:
        content = yaml.safe_load(place.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no text, no date, no end
        raise UserError(f"{place} is no YAML: {' '.join(str(error).split())[:200]}") from error
    if sum(1 for _ in islice(every_part(content), MOST_PARTS + 1)) > MOST_PARTS:
        raise UserError(f"{place} holds more than {MOST_PARTS} settings; it is refused.")
    if not isinstance(content, dict):
        raise UserError(f"{place} holds no settings (expected `model:`, `data:`, `trainer:`).")
    content = content if check_format(content, place) else upgrade_classes(content)
    about_the_file = {"format"}
    return {k: v for k, v in content.items() if v is not None and k not in about_the_file}


def every_part(content: Any) -> Iterator[Any]:
    """All values of nested settings; those that YAML repeats by reference, each time.

    >>> list(every_part({"a": [1, 2]}))
    [{'a': [1, 2]}, [1, 2], 2, 1]
    """
    left = [content]
    while left:
        part = left.pop()
        yield part
        left += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
