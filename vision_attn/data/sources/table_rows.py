"""Read the rows of an image table (path, class, perhaps split) from CSV, JSON Lines or Parquet."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.data.sources.table_columns import (
    RECORD_HEADER,
    Columns,
    describe_columns,
    describe_unused,
    find_columns,
    split_of_value,
)
from vision_attn.data.sources.table_jsonl import JSON_LINES, read_jsonl
from vision_attn.data.sources.table_parquet import PARQUET, Lines, read_parquet

TABLES = (".csv", ".tsv", *JSON_LINES, *PARQUET)
RECORD_START = f"{','.join(RECORD_HEADER)}\n".encode()
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        line: its line (or row) number.
        path: the file.
        label: the class.
        split: "" if there is none.
        identity: of the content of the file, in the `split.csv` of a run; else "".
    """

    line: int
    path: str
    label: str
    split: str
    identity: str = ""


def read_rows(
    table: Path, path: str | None = None, label: str | None = None, split: str | None = None
) -> Iterator[Row]:
    """Read the rows of a table; lines say which columns are used if they have other names.

    Args:
        table: the file.
        path: the column of the paths; None takes a usual name.
        label: the column of the classes; likewise.
        split: the column of the splits; likewise.

    Raises:
        UserError: it is damaged, lacks a column, or a row lacks a path or a label.
    """
    names, lines = read_table(table)
    columns = find_columns(table, names, path, label, split)
    rows = list(filled_rows(table, lines, columns))
    found = {row.split: split_of_value(row.split, columns.flag) for row in rows}
    unknown = sorted(value for value, meaning in found.items() if meaning is None)
    if columns.split is not None and columns.guessed and unknown:
        say(f"table     {describe_unused(names[columns.split], unknown)} ({table.name})")
        columns, rows = replace(columns, split=None), [row._replace(split="") for row in rows]
    if line := describe_columns(names, columns):
        say(f"table     {line} ({table.name})")
    if columns.split is None:
        return iter(rows)
    return (row._replace(split=found[row.split] or row.split) for row in rows)


def filled_rows(table: Path, lines: Lines, columns: Columns) -> Iterator[Row]:
    """The rows of a table with a path and a label each.

    Raises:
        UserError: naming the first line that lacks one.
    """
    path, label, split = columns.path, columns.label, columns.split
    for line, cells in lines:
        if len(cells) <= max(path, label, split or 0, columns.identity or 0):
            raise UserError(f"{table}, line {line}: too few columns.")
        row = Row(line, cells[path], cells[label], "" if split is None else cells[split])
        if columns.identity is not None:
            row = row._replace(identity=cells[columns.identity])
        if not row.path or not row.label:
            missing = "label" if row.path else "path"
            raise UserError(f"{table}, line {line}: the {missing} is empty.")
        yield row


def read_table(table: Path) -> tuple[list[str], Lines]:
    """Column names and rows of a table, by the ending of its file."""
    return READERS.get(table.suffix.lower(), read_csv)(table)


def read_csv(table: Path) -> tuple[list[str], Lines]:
    """Column names and rows of a CSV file.

    The separator is that of an Excel line such as `sep=;`, else the most frequent one in line 1.
    """
    with table.open("rb") as head:
        start = head.read(len(RECORD_START))
    is_record = start == RECORD_START
    encoding = "utf-16" if start[:2] in UTF16_MARKS else "utf-8" if is_record else "utf-8-sig"
    try:
        # Only these end a line: `splitlines` would cut names at U+2028, U+0085 and others, too.
        errors = "surrogateescape" if is_record else "strict"
        with table.open(encoding=encoding, errors=errors, newline="") as file:
            lines = list(file)
    except UnicodeError:
        raise UserError(f"{table} is not in UTF-8; save it as 'CSV UTF-8'.") from None
    if len(lines) < 2:
        raise UserError(
            f"{table} has no rows: it needs a line of column names, then one line per image."
        )
    separator = max(",;\t", key=lines[0].count)
    if lines[0].lower().startswith("sep=") and len(lines[0].rstrip("\r\n")) == len("sep=;"):
        separator = lines[0][len("sep=")]
        lines[0] = "\n"  # kept, so that line numbers stay those of the file
    rows = parse_csv_lines(table, lines, separator, strip=not is_record)
    _, names = next(rows, (1, []))
    return list(names), rows


def parse_csv_lines(table: Path, lines: Sequence[str], separator: str, strip: bool) -> Lines:
    """Line numbers and cells of the lines that are not empty.

    Args:
        table: the file, for messages.
        lines: its lines.
        separator: between cells.
        strip: remove blanks around cells; names in the `split.csv` of a run are exact.

    Raises:
        UserError: naming the line that is not valid CSV.
    """
    reader = csv.reader(lines, delimiter=separator)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells] if strip else cells
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: {error}.") from None


READERS = dict.fromkeys(PARQUET, read_parquet) | dict.fromkeys(JSON_LINES, read_jsonl)
"""Readers of formats other than CSV, by the ending of the file."""
