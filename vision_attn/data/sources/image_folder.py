"""A folder of one's own: a folder a class, in train/val/test folders or all in one."""

from pathlib import Path
from typing import Literal

from vision_attn.core.errors import UserError
from vision_attn.data.io.image import is_readable
from vision_attn.data.io.object_masks import ReadMask, find_boxes, read_masks
from vision_attn.data.io.paths import image_files
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.files import USUAL_NAMES, split_of_files, usual_side
from vision_attn.data.split import Split

IMAGES = ("images", "imgs", "image", "img")
MASKS = ("masks", "mask", "annotations", "ground_truth", "gt", "labels", "segmentation")
"""Usual names of the folders that hold a set's images, and its masks."""


class ImageFolder(ImageSource):
    """Images in one folder a class: `root/train/CLASS/*.jpg` and so on, or `root/CLASS/*.jpg`.

    Hidden files and folders are passed over, class folders are searched to any depth, and splits
    that are missing are cut from the training images.

    Args:
        root: the folder.
        default_split: what a folder of classes without split folders is: "train", to be cut into splits,
            or "val" or "test", to be scored as a whole.
        truth: where the objects are: a CSV of boxes (file, xmin, ymin, xmax, ymax) or a folder of
            masks; None takes `boxes.csv` in the folder, if there is one.

    Raises:
        UserError: the folder is missing or empty, holds images beside their masks, has one
            training class only, or a class folder without a readable image.
    """

    def __init__(
        self,
        root: str,
        default_split: Literal["train", "val", "test"] = "train",
        truth: str | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.truth = self.find_truth(truth)
        both = images_beside_masks(self.root)
        if both is not None:
            raise UserError(
                f"{self.root} holds images and their masks, which are no classes: "
                f"name the images, --data {both[0]}."
            )
        self.folders = find_split_folders(self.root, default_split)
        self.files = {
            name: {folder.name: image_files(folder) for folder in visible_folders(place)}
            for name, place in self.folders.items()
        }
        first = "train" if "train" in self.files else next(iter(self.files))
        self.class_names = list(self.files[first])
        self.check_classes(first)
        self.natural_size = usual_side([p for files in self.files[first].values() for p in files])

    def check_classes(self, first: str) -> None:
        """Refuse a folder that nothing can be learnt from."""
        place = self.folders[first]
        if not self.class_names:
            raise UserError(f"{place} has no class folders: put images into {place}/CLASS/.")
        for name, files in self.files[first].items():
            if not any(is_readable(path) for path in files):
                raise UserError(f"{place / name} has no readable image: add some or remove it.")
        if first == "train" and len(self.class_names) < 2:
            raise UserError(
                f"{place} has one class only ('{self.class_names[0]}'): at least two are needed."
            )

    def splits(self) -> dict[str, Split]:
        """The folders there are, in the order of their file names."""
        return {
            name: as_split(by_class, self.read_masks(self.folders[name]))
            for name, by_class in self.files.items()
        }

    def find_truth(self, truth: str | None) -> Path | None:
        """Where the objects are listed, if they are."""
        if truth is not None:
            return Path(truth).expanduser()
        return find_boxes(self.root)

    def read_masks(self, folder: Path) -> ReadMask | None:
        """What tells where the objects of a split are."""
        return None if self.truth is None else read_masks(self.truth, self.root, folder)


def find_split_folders(root: Path, default_split: str) -> dict[str, Path]:
    """Which folder is which split; a folder of classes alone is the split `alone`.

    Raises:
        UserError: the folder is missing or empty.
    """
    if not root.is_dir():
        raise UserError(f"there is no folder {root}.")
    inside = {folder.name.lower(): folder for folder in visible_folders(root)}
    if not inside:
        raise UserError(f"{root} has no folders in it: put images into {root}/CLASS/.")
    found = {
        split: inside[name]
        for split, names in USUAL_NAMES.items()
        for name in names[::-1]
        if name in inside and (visible_folders(inside[name]) or len(inside) == 1)
    }
    if found and default_split == "train" and "train" not in found:
        usual = {name for names in USUAL_NAMES.values() for name in names}
        if set(inside) <= usual:
            raise UserError(f"{root} has no train folder (it has: {', '.join(sorted(inside))}).")
        found = {}  # classes that happen to be called so
    return found or {default_split: root}


def images_beside_masks(root: Path) -> tuple[Path, Path] | None:
    """The folder of images and that of masks, where a folder has both, with the same folders."""
    if not root.is_dir():
        return None
    inside = {folder.name.lower(): folder for folder in visible_folders(root)}
    for images in (inside[name] for name in IMAGES if name in inside):
        for masks in (inside[name] for name in MASKS if name in inside):
            names = names_in(masks)
            if names and names <= names_in(images):
                return images, masks
    return None


def names_in(folder: Path) -> set[str]:
    """Names of the folders in a folder."""
    return {inner.name for inner in visible_folders(folder)}


def visible_folders(place: Path) -> list[Path]:
    """The folders in a folder, by name, without hidden ones."""
    return sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def as_split(by_class: dict[str, list[Path]], truth: ReadMask | None = None) -> Split:
    """One split of files listed by class."""
    paths = [path for files in by_class.values() for path in files]
    labels = [name for name, files in by_class.items() for _ in files]
    return split_of_files(paths, labels, truth)
