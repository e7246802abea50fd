"""Image table source: a CSV or Parquet file with the columns path, label and optionally split."""

import os
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Literal, NamedTuple

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.terminal import say
from vision_attn.data.io.formats import EXTENSIONS
from vision_attn.data.io.object_masks import ReadMask, read_masks
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.files import SPLIT_ALIASES, split_of_files, usual_side
from vision_attn.data.sources.table_columns import SPLIT_OF, find_columns
from vision_attn.data.sources.table_rows import Row, read_rows, read_table
from vision_attn.data.split import Split

MAX_LISTED = 10  # missing files named on standard error
MAX_PATH_CHARS = 300  # of a path in an error message


class TablePart(NamedTuple):
    """A table, or one of the tables, of a data set.

    Attributes:
        file: the table.
        folder: the folder that its paths are relative to, itself relative to the root.
        split: of its rows that name none; "" if it is not known.
    """

    file: Path
    folder: str = ""
    split: str = ""


class ImageTable(ImageSource):
    """Images listed in a table, one per row; labels are text.

    Paths are relative to the table's folder, or to `root`. Any path that leads out of that folder,
    whether absolute, through `..` or through a symbolic link, is refused (links are read with
    `follow_links`). Missing files are left out and listed on standard error. Missing splits are
    cut from the training images.

    Args:
        table: the file; .csv or .tsv (UTF-8, with a header line; separated by commas, semicolons
            or tabs), .jsonl (one JSON object per line), or .parquet.
        root: the folder that paths are relative to and must lie in; None takes the table's own.
        path_column: the column of the file paths; None takes a usual name, such as `path`.
        label_column: the column of the classes; None takes a usual name, such as `label`.
        split_column: the column of the splits; None takes a usual name, such as `split` or
            `is_valid`, if its values name splits.
        default_split: the split of the images if there is no column of splits: "train" (which is
            cut into splits), or "val" or "test" (all images are scored).
        truth: object locations (ground truth): a CSV of boxes, or a folder of masks.
        follow_links: whether to read files that are symbolic links to files outside the root.

    Raises:
        UserError: the table is missing or damaged, lacks a column, has contradictory rows or paths
            that lead out of its folder, or has fewer than two training classes.
    """

    def __init__(
        self,
        table: str,
        root: str | None = None,
        path_column: str | None = None,
        label_column: str | None = None,
        split_column: str | None = None,
        default_split: Literal["train", "val", "test"] = "train",
        truth: str | None = None,
        follow_links: bool = False,
    ) -> None:
        self.table = Path(table).expanduser()
        self.columns = (path_column, label_column, split_column)
        given = Path(root).expanduser() if root else self.table.parent
        self.root = Path(os.path.realpath(given))
        self.truth = truth
        self.follow_links = follow_links
        if not self.table.exists():
            raise UserError(f"there is no table {self.table}.")
        if not given.is_dir():
            raise UserError(f"there is no folder {given}. If it was moved: --data.source.root DIR.")
        existing = drop_missing_files(self.table, self.resolve_paths(self.rows()))
        self.files = group_by_split(self.table, existing, default_split)
        first = "train" if "train" in self.files else next(iter(self.files))
        self.class_names = sorted({row.label for row in self.files[first]})
        if first == "train" and len(self.class_names) < 2:
            raise UserError(
                f"{self.table} has only one training class ('{self.class_names[0]}'): "
                "at least two are needed."
            )
        self.natural_size = usual_side([Path(row.path) for row in self.files[first]])

    def parts(self) -> list[TablePart]:
        """The tables that the data set consists of; here the only one."""
        if not self.table.is_file():
            raise UserError(f"there is no table {self.table}.")
        return [TablePart(self.table)]

    def rows(self) -> Iterator[Row]:
        """The rows of all tables; their paths are relative to the root."""
        for part in self.parts():
            for row in read_rows(part.file, *self.columns):
                path = os.path.join(part.folder, row.path)  # noqa: PTH118
                yield row._replace(path=path, split=row.split or part.split)

    def resolve_paths(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Rows with absolute paths, all of them inside the root (no path traversal).

        Raises:
            UserError: naming the first line whose path leads out of the root.
        """
        inside = str(self.root).rstrip(os.sep) + os.sep
        for row in rows:
            path = existing_path(self.root, row.path)
            if "\0" in path:
                raise UserError(f"{self.table}, line {row.line}: {row.path!r} is not a file name.")
            # Without `..`, only a link can lead out of the root, and only if that was asked for.
            real = os.path.abspath if self.follow_links else os.path.realpath
            if not real(path).startswith(inside):
                raise UserError(f"{self.table}, line {row.line}: {self.leads_out(row.path, path)}")
            yield row._replace(path=path)

    def leads_out(self, name: str, path: str) -> str:
        """The message on a path that leads out of the root."""
        if os.path.abspath(path).startswith(f"{self.root}{os.sep}"):  # noqa: PTH100
            return (
                f"'{name}' is a link that leads out of {self.root}. "
                "To read linked files: --data.source.follow_links true."
            )
        return (
            f"'{name}' leads out of {self.root}. "
            "If the images are elsewhere, set their folder: --data.source.root DIR."
        )

    def splits(self) -> dict[str, Split]:
        """The splits in the table; images keep its order."""
        truth = self.read_masks()
        return {
            name: split_of_files(
                [Path(row.path) for row in rows], [row.label for row in rows], truth
            )
            for name, rows in self.files.items()
        }

    def column(self, name: str) -> dict[str, str] | None:
        """The values of a column, by the path of the image; None if there is no such column."""
        found: dict[str, str] = {}
        for part in self.parts():
            names, lines = read_table(part.file)
            if name not in names:
                return None
            path, value = find_columns(part.file, names, *self.columns).path, names.index(name)
            found |= {
                existing_path(self.root / part.folder, cells[path]): cells[value]
                for _, cells in lines
                if len(cells) > max(path, value)
            }
        return found

    def read_masks(self) -> ReadMask | None:
        """The reader of the object masks; None if there are no masks."""
        if self.truth is None:
            return None
        return read_masks(Path(self.truth).expanduser(), self.root, self.root)


def existing_path(root: Path, name: str) -> str:
    """The path of a file in a table: as it is, with Windows' backslashes, or without its ending.

    If there is no such file in any of these ways, the path as it is.
    """
    path = os.path.join(root, name)  # noqa: PTH118  # half a million rows
    if "\0" in path or os.path.isfile(path):  # noqa: PTH113
        return path
    others = [path, os.path.join(root, name.replace("\\", "/"))]  # noqa: PTH118
    endings = ("", *sorted(EXTENSIONS), *(ending.upper() for ending in sorted(EXTENSIONS)))
    candidates = (other + ending for other in others for ending in endings)
    return next((one for one in candidates if os.path.isfile(one)), path)  # noqa: PTH113


def drop_missing_files(table: Path, rows: Iterator[Row]) -> list[Row]:
    """The rows whose files exist; the others are counted and listed on standard error.

    Raises:
        UserError: none of the files exists.
    """
    listed = list(rows)
    # Path.is_file raises an error if a name is too long.
    exists = [os.path.isfile(row.path) for row in listed]  # noqa: PTH113
    found = list(compress(listed, exists))
    missing = [row for row, is_file in zip(listed, exists, strict=True) if not is_file]
    if not found:
        first = listed[0].path[:MAX_PATH_CHARS]
        raise UserError(
            f"{table}: none of its {len(listed)} files exists (the first: {first}). "
            "Set the folder that they are in: --data.source.root DIR."
        )
    for row in missing[:MAX_LISTED]:
        say(f"left out, missing: {row.path} ({table.name}, line {row.line})", error=True)
    if missing:
        say(f"{len(missing)} of {len(listed)} files are missing.", error=True)
    return found


def group_by_split(table: Path, rows: list[Row], default_split: str) -> dict[str, list[Row]]:
    """Group rows by split; each file is kept once.

    Raises:
        UserError: an unknown split, a row without a split although others have one, a file listed
            twice with different labels or splits, or no training images.
    """
    has_splits = any(row.split for row in rows)
    found: dict[str, list[Row]] = {}
    seen: dict[str, Row] = {}
    for row in rows:
        split = SPLIT_OF.get(row.split.lower()) if has_splits else default_split
        if split is None:
            problem = f"unknown split '{row.split}'" if row.split else "no split"
            raise UserError(
                f"{table}, line {row.line}: {problem}; a split is train, val or test."
                f"{did_you_mean(row.split, SPLIT_OF)}"
            )
        first = seen.setdefault(row.path, row)
        if first is row:
            found.setdefault(split, []).append(row)
        elif (first.label, first.split) != (row.label, row.split):
            raise UserError(
                f"{table}, lines {first.line} and {row.line}: the same file as '{first.label}' "
                f"{first.split} and as '{row.label}' {row.split}; keep one of the lines."
            )
    if default_split == "train" and "train" not in found:
        raise UserError(f"{table} has no training images (it has: {', '.join(found)}).")
    return {name: found[name] for name in SPLIT_ALIASES if name in found}
