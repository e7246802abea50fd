"""Read JSON files that may come from anyone."""

import json
from pathlib import Path
from typing import Any

from vision_attn.core.errors import UserError, first_line

MAX_BYTES = 2**24  # values take up to 30 times as much in memory


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file.

    Raises:
        UserError: it is missing or no file, is too large, or holds no JSON object.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is refused: it is larger than {MAX_BYTES >> 20} MiB.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}); copy it again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it holds no JSON object); copy it again.")
    return content
