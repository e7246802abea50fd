"""Safely read YAML configuration files of any format version, with a size limit."""

from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from vision_attn.core.errors import UserError, one_line
from vision_attn.runs.old_formats import check_format, upgrade_config

MAX_BYTES = 2**20
MOST_PARTS = 100_000  # aliases and merge keys can expand a small file to billions of values


def load_yaml(path: Path) -> dict[str, Any]:
    """Read the settings in a YAML file; empty sections are left out.

    Raises:
        UserError: the file is not YAML, contains no settings, is too large, or has a later format.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is refused: it is larger than {MAX_BYTES >> 20} MiB.")
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {one_line(error)}") from error
    except OverflowError as error:
        raise UserError(f"{path} is refused: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} contains no settings (expected `model:`, `data:`, `trainer:`).")
    content = content if check_format(content, path) else upgrade_config(content)
    return {key: value for key, value in content.items() if value is not None and key != "format"}


def parse(text: str) -> object:
    """The content of a YAML text; its size is counted before it is built.

    Raises:
        OverflowError: aliases make it larger than `MOST_PARTS` values.

    >>> parse("a: &x [1, 2]")
    {'a': [1, 2]}
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if expanded_size(node, {}) > MOST_PARTS:
            raise OverflowError(f"it contains more than {MOST_PARTS:,} settings")
        return loader.construct_document(node) if node else {}
    finally:
        loader.dispose()


def expanded_size(node: yaml.Node | None, sizes: dict[int, int]) -> int:
    """Number of values in a part of a YAML file; one that is repeated by alias counts each time.

    Args:
        node: the part.
        sizes: the sizes of the parts that were counted before, by identity.

    >>> expanded_size(yaml.compose("[&a [1, 2], *a]"), {})
    7
    """
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = MOST_PARTS + 1  # for a part that contains itself
        parts = chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
        sizes[id(node)] = 1 + sum(expanded_size(part, sizes) for part in parts)
    return sizes[id(node)]
