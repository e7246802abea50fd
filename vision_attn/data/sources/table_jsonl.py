"""Read the rows of an image table from JSON Lines: one JSON object per line."""

import json
from collections.abc import Iterator
from pathlib import Path

from vision_attn.core.errors import UserError, first_line
from vision_attn.data.sources.table_parquet import Lines

JSON_LINES = (".jsonl", ".ndjson")
MAX_BYTES = 2**29  # of a file


def read_jsonl(table: Path) -> tuple[list[str], Lines]:
    """Column names and rows of a JSON Lines file as text; lists, objects and null are empty.

    Raises:
        UserError: it is too large, has no rows, or a line is not a JSON object.
    """
    if table.stat().st_size > MAX_BYTES:
        raise UserError(f"{table} is larger than {MAX_BYTES >> 20} MiB; split it.")
    rows = list(parse_lines(table))
    if not rows:
        raise UserError(f"{table} has no rows: it needs one JSON object per line.")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    return names, ((line, [row.get(name, "") for name in names]) for line, row in rows)


def parse_lines(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and values by column of the lines that are not empty.

    Raises:
        UserError: naming the first line that is not a JSON object.
    """
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeError:
        raise UserError(f"{table} is not in UTF-8.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{table}, line {number}: not JSON ({first_line(error)}).") from None
        if not isinstance(content, dict):
            raise UserError(f"{table}, line {number}: not a JSON object.")
        yield number, {str(name): as_text(value) for name, value in content.items()}


def as_text(value: object) -> str:
    """A value as a cell.

    >>> [as_text(value) for value in ("cat", 3, True, None, [1])]
    ['cat', '3', 'true', '', '']
    """
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else ""
