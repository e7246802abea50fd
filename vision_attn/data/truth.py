"""Where the objects are in a folder of images: a list of boxes, or a folder of masks."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_attn.errors import UserError

COLUMNS = ("file", "xmin", "ymin", "xmax", "ymax")
ReadTruth = Callable[[Path, int], Tensor]
"""An image's path and a size, to where the object is: bool (size, size)."""


def read_truth(place: Path, root: Path) -> ReadTruth:
    """What tells where the objects of the images below `root` are.

    Args:
        place: a CSV file with the columns file, xmin, ymin, xmax, ymax, in pixels of the image as
            it is stored, the last ones included and files named from the CSV's folder; or a folder
            of masks that are white on the object, with the images' names below `root`.
        root: the folder of images.

    Raises:
        UserError: there is no such file or folder, or the file is no list of boxes.
    """
    if place.is_dir():
        return lambda path, size: mask_from_file(place, path.relative_to(root), size)
    if not place.is_file():
        raise UserError(f"--truth: there is no file or folder {place}.")
    boxes = read_boxes(place)
    return lambda path, size: mask_from_boxes(boxes.get(path.resolve(), []), path, size)


def read_boxes(place: Path) -> dict[Path, list[tuple[int, int, int, int]]]:
    """Boxes by image; an image may have several."""
    boxes: dict[Path, list[tuple[int, int, int, int]]] = {}
    with place.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        missing = set(COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise UserError(f"{place} lacks the column {sorted(missing)[0]} of a list of boxes.")
        for number, row in enumerate(reader, start=2):
            try:
                left, top, right, bottom = (int(float(row[key])) for key in COLUMNS[1:])
            except (TypeError, ValueError):
                raise UserError(f"{place}, line {number}: a box is four numbers.") from None
            file = (place.parent / row["file"]).resolve()
            boxes.setdefault(file, []).append((left, top, right, bottom))
    return boxes


def mask_from_boxes(boxes: list[tuple[int, int, int, int]], path: Path, size: int) -> Tensor:
    """The union of an image's boxes at the model's size; degenerate boxes are empty."""
    with Image.open(path) as image:
        width, height = image.size
    mask = torch.zeros(size, size, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        if right > left and bottom > top:
            rows = slice(round(top * size / height), round((bottom + 1) * size / height))
            columns = slice(round(left * size / width), round((right + 1) * size / width))
            mask[rows, columns] = True
    return mask


def mask_from_file(masks: Path, name: Path, size: int) -> Tensor:
    """An image's mask at the model's size; empty where there is none."""
    found = sorted((masks / name.parent).glob(f"{name.stem}.*"))
    if not found:
        return torch.zeros(size, size, dtype=torch.bool)
    with Image.open(found[0]) as image:
        scaled = image.convert("L").resize((size, size), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(scaled) > 127)
