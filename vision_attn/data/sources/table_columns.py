"""Which columns of an image table hold the path, the class and the split, and their usual names."""

from collections.abc import Sequence
from dataclasses import dataclass

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.data.sources.files import SPLIT_ALIASES

PATH_NAMES = (
    "path", "file", "file_name", "filename", "file_path", "filepath", "image_path", "image_file",
    "image_name", "image", "img", "photo", "picture", "image_id", "id",
)  # fmt: skip
LABEL_NAMES = (
    "label", "class", "class_name", "category", "target", "species", "diagnosis", "labels",
)  # fmt: skip
SPLIT_NAMES = ("split", "set", "subset", "partition", "dataset", "fold", "usage", "phase")
"""Names of columns, the usual ones first; capitals do not count, nor do blanks for underscores."""
FLAGS = {"is_valid": "val", "is_val": "val", "is_test": "test"}
"""Columns of yes and no, and the split of the images with yes; the others are for training."""
YES, NO = ("true", "1", "1.0", "yes", "y"), ("false", "0", "0.0", "no", "n", "")
MORE_ALIASES = {"holdout": "test", "hold-out": "test", "held-out": "test", "development": "val"}
SPLIT_OF = {
    alias: split for split, names in SPLIT_ALIASES.items() for alias in names
} | MORE_ALIASES
"""The split that each usual value stands for, in lower case."""
RECORD_HEADER = ("file", "label", "split", "content")
"""Columns of the `split.csv` of a run: names in it are exact, and bytes that are not UTF-8 stay."""
MAX_SHOWN = 5  # values of a column that is not used


@dataclass(frozen=True)
class Columns:
    """The columns of a table by their index.

    Attributes:
        path: of the files.
        label: of the classes.
        split: of the splits; None if there is none.
        flag: the split that "yes" in that column stands for; None if it holds names of splits.
        guessed: whether the column of splits was recognized by its name.
        identity: of the contents of files, in the `split.csv` of a run; None in other tables.
    """

    path: int
    label: int
    split: int | None = None
    flag: str | None = None
    guessed: bool = False
    identity: int | None = None


def find_columns(
    table: object, names: Sequence[str], path: str | None, label: str | None, split: str | None
) -> Columns:
    """Find the columns of a table; names that the user gave must exist.

    Args:
        table: the file, for messages.
        names: the column names.
        path: the name that the user gave for the paths; None takes a usual one.
        label: likewise for the classes.
        split: likewise for the splits. "split", which older runs recorded as the default, may be
            missing.

    Raises:
        UserError: there is no column of the paths or the classes, or one that the user gave is
            missing.

    >>> found = find_columns("a.csv", ["Image", "Class", "Set"], None, None, None)
    >>> found.path, found.label, found.split
    (0, 1, 2)
    >>> find_columns("a.csv", ["filename", "label", "is_valid"], None, None, None).flag
    'val'
    """
    found_path = find_column(table, names, PATH_NAMES if path is None else (path,), "path")
    found_label = find_column(table, names, LABEL_NAMES if label is None else (label,), "label")
    if tuple(names) == RECORD_HEADER:
        return Columns(0, 1, 2, identity=3)
    if split is not None and (split in names or split != "split"):
        index = find_column(table, names, (split,), "split")
        return Columns(found_path, found_label, index, FLAGS.get(plain(split)))
    for name in (*SPLIT_NAMES, *FLAGS):
        if name in map(plain, names):
            index = list(map(plain, names)).index(name)
            if index not in (found_path, found_label):
                exact = names[index] == "split"
                return Columns(found_path, found_label, index, FLAGS.get(name), not exact)
    return Columns(found_path, found_label)


def plain(name: str) -> str:
    """A column name in lower case, with underscores for blanks and hyphens.

    >>> plain(" File Name")
    'file_name'
    """
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def find_column(table: object, names: Sequence[str], wanted: Sequence[str], role: str) -> int:
    """The index of the first of the wanted columns that the table has.

    Raises:
        UserError: it has none of them; the message suggests the closest name.
    """
    for name in wanted:
        if name in names:
            return names.index(name)
    plain_names = [plain(name) for name in names]
    for name in wanted:
        if plain(name) in plain_names:
            return plain_names.index(plain(name))
    raise UserError(
        f"{table} has no column '{wanted[0]}'.{did_you_mean(wanted[0], names)} "
        f"It has: {', '.join(names)}. "
        f"To use another column: --data.source.{role}_column NAME."
    )


def split_of_value(value: str, flag: str | None) -> str | None:
    """The split that a value stands for; None if it is not known, "" if it is empty.

    >>> split_of_value("Validation", None), split_of_value("TRUE", "val"), split_of_value("3", None)
    ('val', 'val', None)
    """
    text = value.strip().lower()
    if flag is None:
        return SPLIT_OF.get(text) if text else ""
    return flag if text in YES else "train" if text in NO else None


def describe_columns(names: Sequence[str], columns: Columns) -> str:
    """A line on the columns that are used; empty if all have their usual names.

    >>> describe_columns(["image", "class", "x"], Columns(0, 1))
    "files from the column 'image', classes from 'class', no column of splits"
    """
    path, label = names[columns.path], names[columns.label]
    split = "" if columns.split is None else names[columns.split]
    if path in ("path", "file") and label == "label" and split in ("", "split"):
        return ""
    splits = f"splits from '{split}'" if split else "no column of splits"
    return f"files from the column '{path}', classes from '{label}', {splits}"


def describe_unused(name: str, values: Sequence[str]) -> str:
    """A line on a column whose name promises splits, but whose values name none.

    >>> describe_unused("fold", ["0", "1"])
    "the column 'fold' is not used: 0, 1 name no train, val or test images"
    """
    shown = ", ".join(values[:MAX_SHOWN]) + (", ..." if len(values) > MAX_SHOWN else "")
    return f"the column '{name}' is not used: {shown} name no train, val or test images"
