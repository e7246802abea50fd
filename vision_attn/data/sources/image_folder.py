"""Image folder source: one folder per class, in train/val/test folders or without splits."""

from pathlib import Path
from typing import Literal

from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.data.io.image import is_readable
from vision_attn.data.io.object_masks import ReadMask, find_boxes, read_masks
from vision_attn.data.io.paths import LINKED_FOLDERS, image_files
from vision_attn.data.io.skipped_files import SkippedFiles
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.files import split_of_files, usual_side
from vision_attn.data.sources.folder_layout import (
    find_root,
    find_split_folders,
    images_beside_masks,
    skip_outside,
    visible_folders,
)
from vision_attn.data.split import Split


class ImageFolder(ImageSource):
    """Images in one folder per class: `root/train/CLASS/*.jpg` and so on, or `root/CLASS/*.jpg`.

    Class folders are searched recursively, and missing splits are cut from the training images.
    A line names what is skipped: hidden files and folders, files with other endings, linked
    folders, and images outside the class folders. A folder whose only content is one folder of
    folders, as archives are often unpacked, stands for that folder.

    Args:
        root: the data folder.
        default_split: the split of the images if there are no split folders: "train" (which is cut
            into splits), or "val" or "test" (all images are scored).
        truth: object locations (ground truth): a CSV of boxes (file, xmin, ymin, xmax, ymax) or a
            folder of masks; None takes `boxes.csv` in the data folder, if there is one.
        split_folders: whether folders called `train`, `val` and `test` are splits, and not classes;
            None judges by what is beside them, and refuses if that is not clear.
        follow_links: whether to enter folders inside class folders that are symbolic links.

    Raises:
        UserError: the folder is missing or empty, holds a folder of images next to one of masks,
            has a single training class, or a class folder without a readable image; or `train` may
            be a split as well as a class.
    """

    def __init__(
        self,
        root: str,
        default_split: Literal["train", "val", "test"] = "train",
        truth: str | None = None,
        split_folders: bool | None = None,
        follow_links: bool = False,
    ) -> None:
        self.root = find_root(Path(root).expanduser(), default_split)
        self.truth = self.find_truth(truth)
        both = images_beside_masks(self.root)
        if both is not None:
            raise UserError(
                f"{self.root} holds images and their masks, which are not classes: "
                f"use the folder of images, --data {both[0]}."
            )
        self.folders = find_split_folders(self.root, default_split, split_folders)
        skipped = SkippedFiles()
        self.files = {
            name: files_by_class(parent, skipped, follow_links)
            for name, parent in self.folders.items()
        }
        skip_outside(self.root, self.folders, self.truth, skipped)
        if line := skipped.line(self.root):
            linked = "; to read linked folders: --data.source.follow_links true"
            advice = linked if skipped.counts[LINKED_FOLDERS] else ""
            say(f"check     skipped: {line}{advice}", error=True)
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


def files_by_class(
    parent: Path, skipped: SkippedFiles, follow_links: bool
) -> dict[str, list[Path]]:
    """The image files of each class folder in `parent`, by the name of the class."""
    return {
        folder.name: image_files(folder, skipped, follow_links)
        for folder in visible_folders(parent)
    }


def as_split(by_class: dict[str, list[Path]], truth: ReadMask | None = None) -> Split:
    """A split of image files that are grouped by class."""
    paths = [path for files in by_class.values() for path in files]
    labels = [name for name, files in by_class.items() for _ in files]
    return split_of_files(paths, labels, truth)
