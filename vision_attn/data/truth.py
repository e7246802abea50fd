"""Where the objects are in a folder of images: a list of boxes, or a folder of masks."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_attn.data.reader import EXTENSIONS, open_image, stored_size, upright
from vision_attn.errors import UserError

COLUMNS = ("file", "xmin", "ymin", "xmax", "ymax")
Box = tuple[float, float, float, float]
ReadTruth = Callable[[Path, int], Tensor]
"""An image's path and a size, to where the object is: bool (size, size)."""


def read_truth(place: Path, root: Path, folder: Path) -> ReadTruth:
    """What tells where the objects of the images in a folder are.

    Args:
        place: a CSV file with the columns file, xmin, ymin, xmax, ymax, in pixels of the image as
            it is stored, the last ones included and files named from the CSV's folder; or a folder
            of masks that are white on the object, named as the images are below `root` or below
            `folder`, with any ending.
        root: the folder of the data.
        folder: the folder of this split.

    Raises:
        UserError: there is no such file or folder, or the file is no list of boxes.
    """
    if place.is_dir():
        return lambda path, size: mask_from_file(find_mask(place, path, (root, folder)), path, size)
    if not place.is_file():
        raise UserError(f"--truth: there is no file or folder {place}.")
    boxes = read_boxes(place)
    return lambda path, size: mask_from_boxes(boxes.get(path.resolve(), []), path, size)


def lists_boxes(place: Path) -> bool:
    """Whether a file is a list of boxes, by its first line."""
    try:
        with place.open(newline="", encoding="utf-8-sig") as lines:
            return set(COLUMNS) <= set(next(csv.reader(lines), ()))
    except (OSError, UnicodeDecodeError):
        return False


def read_boxes(place: Path) -> dict[Path, list[Box]]:
    """Boxes by image; an image may have several."""
    if not lists_boxes(place):
        raise UserError(f"{place} is no list of boxes; its columns are {', '.join(COLUMNS)}.")
    boxes: dict[Path, list[Box]] = {}
    with place.open(newline="", encoding="utf-8-sig") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            try:
                left, top, right, bottom = (float(row[key]) for key in COLUMNS[1:])
            except (TypeError, ValueError):
                raise UserError(f"{place}, line {number}: a box is four numbers.") from None
            file = (place.parent / row["file"]).resolve()
            boxes.setdefault(file, []).append((left, top, right, bottom))
    return boxes


def mask_from_boxes(boxes: list[Box], path: Path, size: int) -> Tensor:
    """The union of an image's boxes at the model's size; degenerate boxes are empty."""
    (width, height), turned = stored_size(path)
    mask = torch.zeros(height, width, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        if right > left and bottom > top:
            rows = slice(inside(top, height), inside(bottom + 1, height))
            mask[rows, inside(left, width) : inside(right + 1, width)] = True
    picture = Image.fromarray(mask.numpy().astype(np.uint8) * 255)
    # Boxes are in pixels as stored, the model sees the image upright.
    return at_size(upright(picture, turned), size)


def inside(edge: float, side: int) -> int:
    """An edge in whole pixels, within the image.

    >>> inside(-3.0, 10), inside(4.4, 10), inside(float("inf"), 10)
    (0, 4, 10)
    """
    return round(min(max(edge, 0.0), side))


def find_mask(masks: Path, path: Path, below: tuple[Path, ...]) -> Path | None:
    """The mask of an image: the same path below the folder of masks, with any image's ending."""
    for root in below:
        name = path.relative_to(root)
        inside_masks = masks / name.parent
        if not inside_masks.is_dir():
            continue
        for candidate in sorted(inside_masks.iterdir()):
            if candidate.stem == name.stem and candidate.suffix.lower() in EXTENSIONS:
                return candidate
    return None


def mask_from_file(mask: Path | None, path: Path, size: int) -> Tensor:
    """A mask at the model's size; empty where an image has none.

    Raises:
        UserError: the file is no image that can be read.
    """
    if mask is None:
        return torch.zeros(size, size, dtype=torch.bool)
    try:
        return at_size(open_image(mask).convert("L"), size)
    except OSError as error:
        raise UserError(f"the mask of {path} cannot be read: {error}") from None


def at_size(picture: Image.Image, size: int) -> Tensor:
    """A black and white picture as bool (size, size)."""
    scaled = picture.resize((size, size), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(scaled) > 127)
