"""Where the objects are in a folder of images: a list of boxes, or a folder of masks."""

import csv
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.data.io.image import EXTENSIONS, open_image, stored_size, upright

COLUMNS = ("file", "xmin", "ymin", "xmax", "ymax")
Box = tuple[float, float, float, float]
ReadMask = Callable[[Path, int, int], Tensor]
"""An image's path, a height and a width, to where the object is: bool (height, width)."""


def read_masks(place: Path, root: Path, folder: Path) -> ReadMask:
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
        return truth_from_masks(place, lambda path: (root, folder))
    if not place.is_file():
        raise UserError(f"--truth: there is no file or folder {place}.")
    return truth_from_boxes(place)


def read_masks_of_files(place: Path | None) -> ReadMask:
    """What tells where the objects are in image files from anywhere.

    Args:
        place: as `read_truth` has it, a folder of masks named as the images are below any folder
            that holds them; None takes for each image the nearest `boxes.csv` above it.

    Raises:
        UserError: there is no such file or folder, or the file is no list of boxes.
    """
    if place is None:
        return truth_from_lists_above()
    if place.is_dir():
        masks = truth_from_masks(place, lambda path: path.parents[::-1])
        return lambda path, height, width: masks(path.absolute(), height, width)
    return read_masks(place, place, place)


def truth_from_boxes(place: Path) -> ReadMask:
    """The boxes of one list."""
    boxes = read_boxes(place)
    return lambda path, height, width: mask_from_boxes(
        boxes.get(path.resolve(), []), path, height, width
    )


def truth_from_masks(place: Path, below: Callable[[Path], Sequence[Path]]) -> ReadMask:
    """Masks named as the images are below some folders, which are tried in turn."""
    listed = cache(images_by_stem)  # each folder once, not once an image
    return lambda path, height, width: mask_from_file(
        find_mask(place, path, below(path), listed), path, height, width
    )


def truth_from_lists_above() -> ReadMask:
    """The nearest `boxes.csv` above each image, which is read once."""
    read = cache(truth_from_boxes)

    @cache
    def nearest(folder: Path) -> Path | None:
        above = folder.parent
        return find_boxes(folder) or (None if above == folder else nearest(above))

    def truth(path: Path, height: int, width: int) -> Tensor:
        listed = nearest(path.absolute().parent)
        if listed is None:
            return torch.zeros(height, width, dtype=torch.bool)
        return read(listed)(path, height, width)

    return truth


def find_boxes(folder: Path) -> Path | None:
    """The list of boxes that lies in a folder, if there is one."""
    listed = folder / "boxes.csv"
    return listed if lists_boxes(listed) else None


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
        rows = csv.DictReader(lines)
        try:
            for row in rows:
                left, top, right, bottom = (float(row[key]) for key in COLUMNS[1:])
                file = (place.parent / row["file"]).resolve()
                boxes.setdefault(file, []).append((left, top, right, bottom))
        except (TypeError, ValueError, OSError, csv.Error):
            told = f"{place}, line {rows.line_num}: a box is four numbers, and a file's name."
            raise UserError(told) from None
    return boxes


def mask_from_boxes(boxes: list[Box], path: Path, height: int, width: int) -> Tensor:
    """The union of an image's boxes at the size wanted; degenerate boxes are empty."""
    (across, down), turned = stored_size(path)
    mask = torch.zeros(down, across, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        if right > left and bottom > top:
            rows = slice(inside(top, down), inside(bottom + 1, down))
            mask[rows, inside(left, across) : inside(right + 1, across)] = True
    picture = Image.fromarray(mask.numpy().astype(np.uint8) * 255)
    # Boxes are in pixels as stored, the model sees the image upright.
    return at_size(upright(picture, turned), height, width)


def inside(edge: float, side: int) -> int:
    """An edge in whole pixels, within the image.

    >>> inside(-3.0, 10), inside(4.4, 10), inside(float("inf"), 10)
    (0, 4, 10)
    """
    return round(min(max(edge, 0.0), side))


def find_mask(
    masks: Path,
    path: Path,
    below: Sequence[Path],
    listed: Callable[[Path], dict[str, Path]],
) -> Path | None:
    """The mask of an image: the same path below the folder of masks, with any image's ending."""
    for root in below:
        name = path.relative_to(root)
        found = listed(masks / name.parent).get(name.stem)
        if found is not None:
            return found
    return None


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The first image file of each stem in a folder; nothing if it is not there."""
    if not folder.is_dir():
        return {}
    files = sorted(folder.iterdir(), reverse=True)
    return {file.stem: file for file in files if file.suffix.lower() in EXTENSIONS}


def mask_from_file(mask: Path | None, path: Path, height: int, width: int) -> Tensor:
    """A mask at the size wanted; empty where an image has none.

    Raises:
        UserError: the file is no image that can be read.
    """
    if mask is None:
        return torch.zeros(height, width, dtype=torch.bool)
    try:
        return at_size(open_image(mask).convert("L"), height, width)
    except OSError as error:
        raise UserError(f"the mask of {path} cannot be read: {error}") from None


def at_size(picture: Image.Image, height: int, width: int) -> Tensor:
    """A black and white picture as bool (height, width)."""
    scaled = picture.resize((width, height), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(scaled) > 127)
