"""The format number of run files, and how files of earlier formats are read.

Format 1 names the project's own classes by file name (`global_attention`). Before it, files had no
number and named classes by the dotted path of the layout of that time.
"""

import re
from pathlib import Path
from typing import Any

from vision_attn.core.errors import UserError

FORMAT = 1
OLD_PATH = re.compile(r"vision_attn\.(?:pooling|data)\.(\w+)\.\w+")
"""A class of ours, named by where it was before format 1."""


def check_format(content: dict[str, Any], place: Path) -> int:
    """The format number of a file, 0 where it has none.

    Raises:
        UserError: a later release wrote the file.
    """
    number = content.get("format", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise UserError(f"{place} is damaged: its format is a number, not {number!r}.")
    if number > FORMAT:
        raise UserError(
            f"{place} has format {number}, and this version reads formats up to {FORMAT}; "
            "update with: pip install -U vision-attn"
        )
    return number


def upgrade_classes(value: Any) -> Any:
    """Settings of format 0 with the dotted paths of our classes as short names.

    >>> upgrade_classes({"class_path": "vision_attn.data.sources.shapes.Shapes", "init_args": {}})
    {'class_path': 'shapes', 'init_args': {}}
    """
    if isinstance(value, list):
        return [upgrade_classes(item) for item in value]
    if not isinstance(value, dict):
        return value
    upgraded = {key: upgrade_classes(item) for key, item in value.items()}
    path = upgraded.get("class_path")
    if isinstance(path, str) and (found := OLD_PATH.fullmatch(path)):
        upgraded["class_path"] = found[1]
    return upgraded
