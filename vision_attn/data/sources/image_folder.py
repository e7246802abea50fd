"""Image folder source: one folder per class, in train/val/test folders or without splits."""

from pathlib import Path
from typing import Literal

from vision_attn.core.errors import UserError
from vision_attn.data.io.image import is_readable
from vision_attn.data.io.object_masks import ReadMask, find_boxes, read_masks
from vision_attn.data.io.paths import image_files
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.files import SPLIT_ALIASES, split_of_files, usual_side
from vision_attn.data.split import Split

IMAGES = ("images", "imgs", "image", "img")
MASKS = ("masks", "mask", "annotations", "ground_truth", "gt", "labels", "segmentation")
"""Usual names of the folders that hold the images and the masks of a data set."""


class ImageFolder(ImageSource):
    """Images in one folder per class: `root/train/CLASS/*.jpg` and so on, or `root/CLASS/*.jpg`.

    Hidden files and folders are ignored, class folders are searched recursively, and missing
    splits are cut from the training images.

    Args:
        root: the data folder.
        default_split: the split of the images if there are no split folders: "train" (which is cut
            into splits), or "val" or "test" (all images are scored).
        truth: object locations (ground truth): a CSV of boxes (file, xmin, ymin, xmax, ymax) or a
            folder of masks; None takes `boxes.csv` in the data folder, if there is one.

    Raises:
        UserError: the folder is missing or empty, holds a folder of images next to one of masks,
            has a single training class, or a class folder without a readable image.
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
                f"{self.root} holds images and their masks, which are not classes: "
                f"use the folder of images, --data {both[0]}."
            )
        self.folders = find_split_folders(self.root, default_split)
        self.files = {
            name: {folder.name: image_files(folder) for folder in visible_folders(parent)}
            for name, parent in self.folders.items()
        }
        first = "train" if "train" in self.files else next(iter(self.files))
        self.class_names = list(self.files[first])
        self.check_classes(first)
        self.natural_size = usual_side([p for files in self.files[first].values() for p in files])

    def check_classes(self, first: str) -> None:
        """Refuse a folder without enough classes or readable images to train on."""
        folder = self.folders[first]
        if not self.class_names:
            raise UserError(f"{folder} has no class folders: put images into {folder}/CLASS/.")
        for name, files in self.files[first].items():
            if not any(is_readable(path) for path in files):
                raise UserError(
                    f"{folder / name} has no readable image: add some or remove the folder."
                )
        if first == "train" and len(self.class_names) < 2:
            raise UserError(
                f"{folder} has only one class ('{self.class_names[0]}'): at least two are needed."
            )

    def splits(self) -> dict[str, Split]:
        """The splits found in the folder; files are sorted by class and path."""
        return {
            name: as_split(by_class, self.read_masks(self.folders[name]))
            for name, by_class in self.files.items()
        }

    def find_truth(self, truth: str | None) -> Path | None:
        """The file or folder of object locations; None if there is none."""
        if truth is not None:
            return Path(truth).expanduser()
        return find_boxes(self.root)

    def read_masks(self, folder: Path) -> ReadMask | None:
        """The reader of the object masks of a split; None if there are no masks."""
        return None if self.truth is None else read_masks(self.truth, self.root, folder)


def find_split_folders(root: Path, default_split: str) -> dict[str, Path]:
    """The folder of each split; a folder of classes without split folders is `default_split`.

    Raises:
        UserError: the folder is missing or empty.
    """
    if not root.is_dir():
        raise UserError(f"there is no folder {root}. If it was moved: --data.source.root DIR.")
    inside = {folder.name.lower(): folder for folder in visible_folders(root)}
    if not inside:
        raise UserError(f"{root} contains no folders: put images into {root}/CLASS/.")
    found = {
        split: inside[name]
        for split, names in SPLIT_ALIASES.items()
        for name in names[::-1]
        if name in inside and (visible_folders(inside[name]) or len(inside) == 1)
    }
    if found and default_split == "train" and "train" not in found:
        aliases = {name for names in SPLIT_ALIASES.values() for name in names}
        if set(inside) <= aliases:
            raise UserError(f"{root} has no train folder (it has: {', '.join(sorted(inside))}).")
        found = {}  # classes that happen to be named like splits
    return found or {default_split: root}


def images_beside_masks(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and masks if `root` has both, with the same subfolders, else None."""
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
    """Names of the visible subfolders of a folder."""
    return {inner.name for inner in visible_folders(folder)}


def visible_folders(parent: Path) -> list[Path]:
    """The subfolders of a folder, sorted by name, without hidden ones."""
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def as_split(by_class: dict[str, list[Path]], truth: ReadMask | None = None) -> Split:
    """A split of image files that are grouped by class."""
    paths = [path for files in by_class.values() for path in files]
    labels = [name for name, files in by_class.items() for _ in files]
    return split_of_files(paths, labels, truth)
