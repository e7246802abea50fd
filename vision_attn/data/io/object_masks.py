"""Object masks (ground truth) of images, from a CSV of bounding boxes or a folder of masks."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.data.io.formats import EXTENSIONS
from vision_attn.data.io.gray_range import GrayRange, is_deep
from vision_attn.data.io.image import open_header, open_image, stored_size, upright

GRAYS = slice(32, 224)  # neither dark nor light
MOST_SHADES = 16  # of a mask that has more than a few pixels between dark and light
MOST_BETWEEN = 0.15  # share of its pixels
COLUMNS = ("file", "xmin", "ymin", "xmax", "ymax")
Box = tuple[float, float, float, float]
ReadMask = Callable[[Path, int, int], Tensor]
"""Maps an image's path, a height and a width to its object mask, bool (height, width)."""


def read_masks(truth: Path, root: Path, folder: Path) -> ReadMask:
    """The reader of object masks for the images of a folder.

    Args:
        truth: a CSV file with the columns file, xmin, ymin, xmax, ymax, in pixels of the image as
            stored; xmax and ymax belong to the box, and files are relative to the CSV's folder. Or
            a folder of masks that are white on the object; a mask has the same path below it as
            its image has below `root` or `folder`, with any image extension.
        root: the data folder.
        folder: the folder of this split.

    Raises:
        UserError: there is no such file or folder, or the file is not a list of boxes.
    """
    if truth.is_dir():
        return MasksFromFolder(truth, (root, folder))
    if not truth.is_file():
        raise UserError(f"--truth: there is no file or folder {truth}.")
    return MasksFromBoxes(read_boxes(truth))


def read_masks_of_files(truth: Path | None) -> ReadMask:
    """The reader of object masks for image files that are not in one data folder.

    Args:
        truth: as in `read_masks`, but a mask has the same path as its image below any folder that
            contains the image. None takes for each image the nearest `boxes.csv` in a folder
            above it.

    Raises:
        UserError: there is no such file or folder, or the file is not a list of boxes.
    """
    if truth is None:
        return MasksFromNearestBoxes()
    if truth.is_dir():
        return MasksFromFolder(truth)
    return read_masks(truth, truth, truth)


@dataclass(frozen=True)
class MasksFromBoxes:
    """Reads masks from the boxes of a CSV, by the resolved path of each image."""

    boxes: dict[Path, list[Box]]

    def __call__(self, path: Path, height: int, width: int) -> Tensor:
        """The mask of an image, bool (height, width)."""
        return mask_from_boxes(self.boxes.get(path.resolve(), []), path, height, width)


@dataclass(frozen=True)
class MasksFromFolder:
    """Reads the mask files in a folder.

    Attributes:
        folder: the folder of masks.
        roots: the folders that the path of a mask may be relative to; None: any above the image.
        listings: the masks of each folder, by their stem; listed once, not once per image.
    """

    folder: Path
    roots: Sequence[Path] | None = None
    listings: dict[Path, dict[str, Path]] = field(default_factory=dict, repr=False)

    def __call__(self, path: Path, height: int, width: int) -> Tensor:
        """The mask of an image, bool (height, width)."""
        full = path if self.roots is not None else path.absolute()
        roots = full.parents[::-1] if self.roots is None else self.roots
        mask = find_mask(self.folder, full, roots, self.listing)
        return mask_from_file(mask, path, height, width)

    def listing(self, folder: Path) -> dict[str, Path]:
        """The masks in a folder, by their stem."""
        if folder not in self.listings:
            self.listings[folder] = images_by_stem(folder)
        return self.listings[folder]


@dataclass(frozen=True)
class MasksFromNearestBoxes:
    """Reads masks from the nearest `boxes.csv` above each image.

    Attributes:
        readers: of each folder whose images were asked for; None where there are no boxes.
    """

    readers: dict[Path, MasksFromBoxes | None] = field(default_factory=dict, repr=False)

    def __call__(self, path: Path, height: int, width: int) -> Tensor:
        """The mask of an image, bool (height, width)."""
        found = self.nearest(path.absolute().parent)
        if found is None:
            return torch.zeros(height, width, dtype=torch.bool)
        return found(path, height, width)

    def nearest(self, folder: Path) -> MasksFromBoxes | None:
        """The reader of the nearest `boxes.csv`, in a folder or above it; each is read once."""
        if folder not in self.readers:
            csv_path = find_boxes(folder)
            if csv_path is not None:
                self.readers[folder] = MasksFromBoxes(read_boxes(csv_path))
            else:
                at_top = folder.parent == folder
                self.readers[folder] = None if at_top else self.nearest(folder.parent)
        return self.readers[folder]


def find_boxes(folder: Path) -> Path | None:
    """The `boxes.csv` of a folder; None if there is none with the right columns."""
    csv_path = folder / "boxes.csv"
    return csv_path if lists_boxes(csv_path) else None


def lists_boxes(csv_path: Path) -> bool:
    """Whether a file is a CSV of boxes, judging by its header line."""
    try:
        with csv_path.open(newline="", encoding="utf-8-sig") as lines:
            return set(COLUMNS) <= set(next(csv.reader(lines), ()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def read_boxes(csv_path: Path) -> dict[Path, list[Box]]:
    """Read the boxes of each image from a CSV; an image may have several.

    Raises:
        UserError: the file is not a CSV of boxes, or a line of it is invalid.
    """
    if not lists_boxes(csv_path):
        raise UserError(
            f"{csv_path} is not a list of boxes: it needs the columns {', '.join(COLUMNS)}."
        )
    boxes: dict[Path, list[Box]] = {}
    with csv_path.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        try:
            for row in rows:
                left, top, right, bottom = (float(row[key]) for key in COLUMNS[1:])
                file = (csv_path.parent / row["file"]).resolve()
                boxes.setdefault(file, []).append((left, top, right, bottom))
        except (TypeError, ValueError, OSError, csv.Error):
            raise UserError(
                f"{csv_path}, line {rows.line_num}: a box needs a file name and four numbers."
            ) from None
    return boxes


def mask_from_boxes(boxes: list[Box], path: Path, height: int, width: int) -> Tensor:
    """The union of an image's boxes as a mask, bool (height, width); degenerate boxes are empty."""
    (stored_width, stored_height), orientation = stored_size(path)
    mask = torch.zeros(stored_height, stored_width, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        if right > left and bottom > top:
            rows = slice(clip_edge(top, stored_height), clip_edge(bottom + 1, stored_height))
            columns = slice(clip_edge(left, stored_width), clip_edge(right + 1, stored_width))
            mask[rows, columns] = True
    image = Image.fromarray(mask.numpy().astype(np.uint8) * 255)
    # Boxes are in pixels of the stored image, but the model sees it upright.
    return resize_mask(upright(image, orientation), height, width)


def clip_edge(edge: float, side: int) -> int:
    """Round an edge of a box to whole pixels, and clip it to the image.

    >>> clip_edge(-3.0, 10), clip_edge(4.4, 10), clip_edge(float("inf"), 10)
    (0, 4, 10)
    """
    return round(min(max(edge, 0.0), side))


def find_mask(
    masks: Path,
    path: Path,
    roots: Sequence[Path],
    listing: Callable[[Path], dict[str, Path]],
) -> Path | None:
    """The mask file of an image: the same relative path below `masks`, any image extension.

    Args:
        masks: the folder of masks.
        path: the image.
        roots: folders that contain the image, tried in turn.
        listing: maps a folder to its image files by stem.
    """
    for root in roots:
        name = path.relative_to(root)
        found = listing(masks / name.parent).get(name.stem)
        if found is not None:
            return found
    return None


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The first image file of each stem in a folder; empty if there is no such folder."""
    if not folder.is_dir():
        return {}
    files = sorted(folder.iterdir(), reverse=True)
    return {file.stem: file for file in files if file.suffix.lower() in EXTENSIONS}


def mask_from_file(mask: Path | None, path: Path, height: int, width: int) -> Tensor:
    """Read a mask file, bool (height, width); an empty mask if the image has none.

    Raises:
        UserError: the file is not a readable image, or it is a photograph.
    """
    if mask is None:
        return torch.zeros(height, width, dtype=torch.bool)
    try:
        found = open_mask(mask)
    except OSError as error:
        raise UserError(f"the mask of {path} cannot be read: {error}") from None
    if is_photograph(found):
        raise UserError(
            f"--truth: {mask} is not a mask but a picture with many shades of gray; "
            "masks are black, and white on the object."
        )
    return resize_mask(found, height, width)


def is_photograph(mask: Image.Image) -> bool:
    """Whether a grayscale image has many shades, and many pixels that are neither dark nor light.

    JPEG and smooth edges give a mask many shades, too, but few such pixels.

    >>> ramp = Image.linear_gradient("L")
    >>> is_photograph(ramp), is_photograph(ramp.point(lambda value: 255 * (value > 127)))
    (True, False)
    """
    counts = mask.histogram()
    between = sum(counts[GRAYS]) / max(sum(counts), 1)
    return sum(count > 0 for count in counts) > MOST_SHADES and between > MOST_BETWEEN


def open_mask(mask: Path) -> Image.Image:
    """Read a mask file as upright 8-bit grayscale; its lightest value is white if it has 16 bits.

    Masks in files of 16 bits and more often hold only the values 0 and 1, or 0 and 255.

    Raises:
        OSError: the file is not a readable image.
    """
    with open_header(mask) as file:
        if not is_deep(file.mode):
            lightest = None
        else:
            file.load()
            lightest = GrayRange(0.0, float(np.nanmax(np.asarray(file))) or 1.0)
    return open_image(mask, gray_range=lightest).convert("L")


def resize_mask(image: Image.Image, height: int, width: int) -> Tensor:
    """Resize a black and white image to a mask, bool (height, width)."""
    scaled = image.resize((width, height), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(scaled) > 127)
