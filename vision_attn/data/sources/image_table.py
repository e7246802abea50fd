"""A table of one's own: a CSV or Parquet file with the columns path, label and perhaps split."""

import csv
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, repeat
from pathlib import Path
from typing import Literal, NamedTuple

from vision_attn.core.errors import UserError, did_you_mean, first_line
from vision_attn.data.io.object_masks import ReadMask, read_masks
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.files import USUAL_NAMES, split_of_files, usual_side
from vision_attn.data.split import Split

PARQUET = (".parquet", ".pq")
TABLES = (".csv", ".tsv", *PARQUET)
USUAL_PATHS = ("path", "file")
SPLIT_OF = {usual: split for split, names in USUAL_NAMES.items() for usual in names}
SHOWN = 10  # missing files named
SHOWN_OF_A_PATH = 300  # characters


class Row(NamedTuple):
    """One image of a table: its line (or row), file, class and split, "" where none is given."""

    line: int
    path: str
    label: str
    split: str


class ImageTable(ImageSource):
    """Images listed in a table, one a row; labels are text.

    Files are named from the table's folder and stay in it: a path that leads out of it is refused,
    be it absolute, through `..` or through a link. `root` names another folder. Missing files are
    left out and named on standard error. Splits that are missing are cut from the training images.

    Args:
        table: the file; .csv and .tsv (UTF-8, with a line of column names; commas, semicolons or
            tabs) or .parquet.
        root: the folder that paths start from and must lie in; None takes the table's own.
        path_column: the column of the files; None takes `path` or `file`.
        label_column: the column of the classes.
        split_column: the column of the splits (train, val, test), if there is one.
        default_split: what a table without splits is: "train", to be cut into splits, or "val" or "test",
            to be scored as a whole.
        truth: where the objects are: a CSV of boxes, or a folder of masks.

    Raises:
        UserError: the table is missing or damaged, lacks a column, contradicts itself, leaves its
            folder, or has fewer than two training classes.
    """

    def __init__(
        self,
        table: str,
        root: str | None = None,
        path_column: str | None = None,
        label_column: str = "label",
        split_column: str = "split",
        default_split: Literal["train", "val", "test"] = "train",
        truth: str | None = None,
    ) -> None:
        self.table = Path(table).expanduser()
        given = Path(root).expanduser() if root else self.table.parent
        self.root = Path(os.path.realpath(given))
        self.truth = truth
        if not self.table.is_file():
            raise UserError(f"there is no table {self.table}.")
        if not given.is_dir():
            raise UserError(f"there is no folder {given}.")
        rows = read_rows(self.table, path_column, label_column, split_column)
        self.files = by_split(
            self.table, without_missing(self.table, self.located(rows)), default_split
        )
        first = "train" if "train" in self.files else next(iter(self.files))
        self.class_names = sorted({row.label for row in self.files[first]})
        if first == "train" and len(self.class_names) < 2:
            raise UserError(
                f"{self.table} has one training class only ('{self.class_names[0]}'): "
                "at least two are needed."
            )
        self.natural_size = usual_side([Path(row.path) for row in self.files[first]])

    def located(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Rows with whole paths, all of them in the root.

        Raises:
            UserError: naming the first line that leads out of it.
        """
        inside = str(self.root).rstrip(os.sep) + os.sep
        for row in rows:
            path = str(Path(self.root, row.path))
            if "\0" in path:
                raise UserError(f"{self.table}, line {row.line}: {row.path!r} is no file's name.")
            if not os.path.realpath(path).startswith(inside):
                raise UserError(
                    f"{self.table}, line {row.line}: '{row.path}' leads out of {self.root}. "
                    "If the images are elsewhere, name their folder: --data.source.root DIR."
                )
            yield row._replace(path=path)

    def splits(self) -> dict[str, Split]:
        """The splits that the table names, in its order."""
        truth = self.read_masks()
        return {
            name: split_of_files(
                [Path(row.path) for row in rows], [row.label for row in rows], truth
            )
            for name, rows in self.files.items()
        }

    def read_masks(self) -> ReadMask | None:
        """What tells where the objects are."""
        if self.truth is None:
            return None
        return read_masks(Path(self.truth).expanduser(), self.root, self.root)


def as_table(splits: Mapping[str, Split], root: Path) -> str:
    """Which file is in which split, as a CSV that `ImageTable` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "label", "split"))
    for name, split in splits.items():
        paths = (os.path.relpath(path, root) for path in split.names)
        writer.writerows(zip(paths, split.labels, repeat(name), strict=False))
    return text.getvalue()


def read_rows(
    table: Path, path_column: str | None, label_column: str, split_column: str
) -> Iterator[Row]:
    """The rows of a table.

    Raises:
        UserError: it is damaged, lacks a column, or a row lacks a path or a label.
    """
    names, rows = read_parquet(table) if table.suffix.lower() in PARQUET else read_csv(table)
    paths = USUAL_PATHS if path_column is None else (path_column,)
    path = find_column(table, names, paths, "path")
    label = find_column(table, names, (label_column,), "label")
    split = names.index(split_column) if split_column in names else None
    for line, cells in rows:
        if len(cells) <= max(path, label, split or 0):
            raise UserError(f"{table}, line {line}: too few columns.")
        row = Row(line, cells[path], cells[label], "" if split is None else cells[split])
        if not row.path or not row.label:
            missing = "label" if row.path else "path"
            raise UserError(f"{table}, line {line}: there is no {missing}.")
        yield row


def find_column(table: Path, names: Sequence[str], wanted: Sequence[str], role: str) -> int:
    """Where one of the wanted columns is.

    Raises:
        UserError: there is none; the nearest names are told.
    """
    for name in wanted:
        if name in names:
            return names.index(name)
    raise UserError(
        f"{table} has no column '{wanted[0]}'.{did_you_mean(wanted[0], names)} "
        f"It has: {', '.join(names)}. "
        f"Another name: --data.source.{role}_column NAME."
    )


Lines = Iterator[tuple[int, Sequence[str]]]
"""Line numbers and cells, without surrounding spaces."""


def read_csv(table: Path) -> tuple[list[str], Lines]:
    """Column names and rows of a CSV file; its separator is the commonest in its first line."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{table} is not in UTF-8; save it as 'CSV UTF-8'.") from None
    if len(lines) < 2:
        raise UserError(f"{table} has no rows: a line of column names, then a line an image.")
    separator = max(",;\t", key=lines[0].count)
    rows = cells_of(table, lines, separator)
    _, names = next(rows, (1, []))
    return list(names), rows


def cells_of(table: Path, lines: Sequence[str], separator: str) -> Lines:
    """Line numbers and cells of the lines that have some.

    Raises:
        UserError: naming a line that is none of a table.
    """
    reader = csv.reader(lines, delimiter=separator)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: {error}.") from None


def read_parquet(table: Path) -> tuple[list[str], Lines]:
    """Column names and rows of a Parquet file, as text; columns of bytes and lists are not read."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
        from pyarrow.types import is_binary, is_large_binary, is_nested
    except ImportError:
        raise UserError(
            "Parquet needs one more library: pip install 'vision-attn[parquet]'"
        ) from None
    kinds = (is_binary, is_large_binary, is_nested)
    try:
        file = ParquetFile(table)
        texts = [f.name for f in file.schema_arrow if not any(kind(f.type) for kind in kinds)]
        columns = file.read(texts).to_pydict()
    except (ArrowException, OSError) as error:
        raise UserError(f"{table} is no Parquet file ({first_line(error)[:120]}).") from error
    rows = zip(*columns.values(), strict=True)
    cells = (["" if cell is None else str(cell).strip() for cell in row] for row in rows)
    return list(columns), enumerate(cells, start=1)


def without_missing(table: Path, rows: Iterator[Row]) -> list[Row]:
    """The rows whose files are there; the others are counted and named.

    Raises:
        UserError: none is there.
    """
    listed = list(rows)
    # Path.is_file raises where a name is too long.
    there = [os.path.isfile(row.path) for row in listed]  # noqa: PTH113
    found = list(compress(listed, there))
    missing = [row for row, is_there in zip(listed, there, strict=True) if not is_there]
    if not found:
        first = listed[0].path[:SHOWN_OF_A_PATH]
        raise UserError(
            f"{table}: none of its {len(listed)} files is there (the first: {first}). "
            "Name the folder that they are in: --data.source.root DIR."
        )
    for row in missing[:SHOWN]:
        print(f"left out, missing: {row.path} ({table.name}, line {row.line})", file=sys.stderr)
    if missing:
        print(f"{len(missing)} of {len(listed)} files are missing.", file=sys.stderr)
    return found


def by_split(table: Path, rows: list[Row], default_split: str) -> dict[str, list[Row]]:
    """Rows by split, each file once.

    Raises:
        UserError: a split that nobody knows, a row without one where others have one, a file that
            stands there twice with different words, or no training images.
    """
    given = any(row.split for row in rows)
    found: dict[str, list[Row]] = {}
    known: dict[str, Row] = {}
    for row in rows:
        split = SPLIT_OF.get(row.split.lower()) if given else default_split
        if split is None:
            named = f"the split '{row.split}'" if row.split else "no split"
            raise UserError(
                f"{table}, line {row.line}: {named}; a split is train, val or test."
                f"{did_you_mean(row.split, SPLIT_OF)}"
            )
        first = known.setdefault(row.path, row)
        if first is row:
            found.setdefault(split, []).append(row)
        elif (first.label, first.split) != (row.label, row.split):
            raise UserError(
                f"{table}, lines {first.line} and {row.line}: one file as '{first.label}' "
                f"{first.split} and as '{row.label}' {row.split}; keep one of them."
            )
    if default_split == "train" and "train" not in found:
        raise UserError(f"{table} has no training images (it has: {', '.join(found)}).")
    return {name: found[name] for name in USUAL_NAMES if name in found}
