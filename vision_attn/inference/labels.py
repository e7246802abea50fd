"""True classes of image files: from a list of boxes, or from the name of their folder."""

import csv
from collections.abc import Callable, Collection
from pathlib import Path

from vision_attn.data.io.object_masks import lists_boxes
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


def label_reader(class_names: Collection[str], truth: Path | None) -> ReadLabel:
    """The reader of the labels of image files.

    Args:
        class_names: the model's classes; a folder is a label if it is named after one of them.
        truth: a CSV of boxes, whose column `label` counts more than folders; or anything else.
    """
    listed = labels_of_boxes(truth) if truth is not None and lists_boxes(truth) else {}

    def read(path: Path) -> Label | None:
        found = listed.get(path.resolve())
        return label_of_folder(path, class_names) if found is None else found

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
