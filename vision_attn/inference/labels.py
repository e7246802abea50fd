"""True classes of image files: from a list of boxes, the run's own images, or a folder's name."""

import csv
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from vision_attn.data.content_id import content_id
from vision_attn.data.io.object_masks import lists_boxes
from vision_attn.data.sources.table_rows import Row, read_rows
from vision_attn.visualization.text import Label

ReadLabel = Callable[[Path], Label | None]
"""Maps an image's path to its true class; None if it is not known."""


def label_of_folder(path: Path, class_names: Collection[str]) -> Label | None:
    """The class that an image's folder is named after.

    >>> label_of_folder(Path("photos/cat/001.jpg"), ["cat", "dog"])
    Label(name='cat', source="the folder's name")
    >>> label_of_folder(Path("photos/001.jpg"), ["cat", "dog"])
    """
    folder = path.absolute().parent.name
    return Label(folder, "the folder's name") if folder in class_names else None


def label_reader(class_names: Collection[str], truth: Path | None, split: Path) -> ReadLabel:
    """The reader of the labels of image files.

    Args:
        class_names: the model's classes; a folder is a label if it is named after one of them.
        truth: a CSV of boxes, whose column `label` counts most; or anything else.
        split: the run's `split.csv`, which knows the images of `fit` by their content, wherever
            they lie; it counts more than the names of folders. It need not exist.

    Raises:
        UserError: `split` is damaged.
    """
    listed = labels_of_boxes(truth) if truth is not None and lists_boxes(truth) else {}
    own = labels_by_content(split) if split.is_file() else {}

    def read(path: Path) -> Label | None:
        if path.resolve() in listed:
            return listed[path.resolve()]
        recorded = own.get(content_id(path)) if own else None
        return recorded or label_of_folder(path, class_names)

    return read


def labels_of_boxes(csv_path: Path) -> dict[Path, Label]:
    """The column `label` of a CSV of boxes, of images whose boxes all have the same one."""
    found: dict[Path, set[str]] = {}
    with csv_path.open(newline="", encoding="utf-8-sig") as lines:
        for row in csv.DictReader(lines):
            if row.get("label") and row.get("file"):
                file = (csv_path.parent / row["file"]).resolve()
                found.setdefault(file, set()).add(row["label"])
    return {
        file: Label(names.pop(), csv_path.name) for file, names in found.items() if len(names) == 1
    }


def labels_by_content(split: Path) -> dict[str, Label]:
    """The labels in a run's `split.csv`, by the content of the files, where all copies agree.

    Raises:
        UserError: the file is damaged.
    """
    copies: dict[str, list[Row]] = {}
    for row in read_rows(split, "file", "label", "split"):
        if row.identity:
            copies.setdefault(row.identity, []).append(row)
    return {
        identity: Label(rows[0].label, f"the run's {split.name} ({splits_of(rows)})")
        for identity, rows in copies.items()
        if len({row.label for row in rows}) == 1
    }


def splits_of(rows: Sequence[Row]) -> str:
    """The splits of the copies of an image.

    >>> splits_of([Row(1, "a.jpg", "cat", "val"), Row(2, "b.jpg", "cat", "train")])
    'train, val'
    """
    return ", ".join(sorted({row.split for row in rows}))
