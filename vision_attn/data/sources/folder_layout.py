"""Find out how a folder of images is laid out: its root, its split folders, masks beside images."""

import os
from pathlib import Path

from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.data.io.paths import HIDDEN_FOLDERS, OURS, walk_images
from vision_attn.data.io.skipped_files import (
    SkippedFiles,
    is_hidden,
    is_image_name,
    made_by_us,
)
from vision_attn.data.sources.files import SPLIT_ALIASES

IMAGES = ("images", "imgs", "image", "img")
MASKS = ("masks", "mask", "annotations", "ground_truth", "gt", "labels", "segmentation")
"""Usual names of the folders that hold the images and the masks of a data set."""
SPLIT_NAMES = frozenset(name for names in SPLIT_ALIASES.values() for name in names)
BESIDE = "folders of images beside the splits"
WITHOUT_CLASSES = "folders named like a split, with images but no class folders"
MAX_NAMED = 3  # folders named in an error message


def find_root(root: Path, default_split: str = "train") -> Path:
    """The folder that holds the classes or the splits; a line says if it is not `root` itself.

    Archives are often unpacked into a folder of their own: as long as a folder holds nothing but
    one folder of folders, that one is taken. Data to score may have one class, so it is taken as
    it is.
    """
    found = root
    while default_split == "train" and (inner := sole_folder(found)) is not None:
        found = inner
    if found != root:
        say(f"data      in {root} there is nothing but {found}, which is used")
    return found


def sole_folder(root: Path) -> Path | None:
    """The only visible folder in `root`, if there are folders in it and no images beside it."""
    if not root.is_dir() or images_in(root):
        return None
    inside = visible_folders(root)
    if len(inside) != 1 or inside[0].name.lower() in SPLIT_NAMES:
        return None
    return inside[0] if visible_folders(inside[0]) and not images_in(inside[0]) else None


def find_split_folders(
    root: Path, default_split: str, split_folders: bool | None = None
) -> dict[str, Path]:
    """The folder of each split; a folder of classes without split folders is `default_split`.

    Args:
        root: the data folder.
        default_split: the split of a folder that has no split folders.
        split_folders: whether folders named like splits are splits; None judges by the others.

    Raises:
        UserError: the folder is missing or empty, or it is not clear what `train` is.
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
    if split_folders is False:
        return {default_split: root}
    if found and default_split == "train" and "train" not in found:
        if set(inside) <= SPLIT_NAMES or split_folders:
            raise UserError(f"{root} has no train folder (it has: {', '.join(sorted(inside))}).")
        found = {}  # classes that happen to be named like splits
    beside = classes_beside(root) if split_folders is None and default_split == "train" else []
    if beside:
        more = f" and {len(beside) - MAX_NAMED} more" * (len(beside) > MAX_NAMED)
        named, train = ", ".join(beside[:MAX_NAMED]) + more, found["train"]
        raise UserError(
            f"{root}: is {train.name} a class, like {named}, or the training images?\n"
            "A class: --data.source.split_folders false. "
            f"The training images: --data.source.split_folders true (or --data {train})."
        )
    return found or {default_split: root}


def classes_beside(root: Path) -> list[str]:
    """Names of folders of images beside a folder `train` of folders, if there are no other splits.

    It is not clear then whether `train` is a class like them, or holds the training images.
    """
    inside = visible_folders(root) if root.is_dir() else []
    splits = [folder for folder in inside if folder.name.lower() in SPLIT_NAMES]
    is_train = len(splits) == 1 and splits[0].name.lower() in SPLIT_ALIASES["train"]
    if not is_train or not visible_folders(splits[0]):
        return []
    known = (*IMAGES, *MASKS, *SPLIT_NAMES)
    return [f.name for f in inside if f.name.lower() not in known and images_in(f)]


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
    """The subfolders of a folder, sorted by name; without hidden ones and those that we wrote."""
    return sorted(
        path
        for path in parent.iterdir()
        if path.is_dir() and not is_hidden(path.name) and not is_ours(path)
    )


def images_in(folder: Path) -> list[Path]:
    """The visible image files directly in a folder, in no order."""
    with os.scandir(folder) as entries:
        return [
            Path(entry.path)
            for entry in entries
            if not is_hidden(entry.name) and is_image_name(entry.name) and entry.is_file()
        ]


def is_ours(folder: Path) -> bool:
    """Whether this program wrote a folder, or all folders in it (such as `runs`)."""
    names, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                folders.append(Path(entry.path))
            names.append(entry.name)
    if made_by_us(names):
        return True
    is_plain = len(folders) == len(names)
    return is_plain and bool(folders) and all(map(is_ours, folders))


def skip_outside(
    root: Path, splits: dict[str, Path], truth: Path | None, skipped: SkippedFiles
) -> None:
    """Count what is beside the class folders and the split folders, and is not read.

    Args:
        root: the data folder.
        splits: the folder of each split.
        truth: the boxes or masks, which are used otherwise.
        skipped: counts them.
    """
    for parent in {root, *splits.values()}:
        for image in sorted(images_in(parent)):
            skipped.add("images outside the class folders", image)
        for folder in sorted(path for path in parent.iterdir() if path.is_dir()):
            if is_hidden(folder.name):
                skipped.add(HIDDEN_FOLDERS, folder)
            elif is_ours(folder):
                skipped.add(OURS, folder)
    if root not in splits.values():
        for folder in visible_folders(root):
            read = folder in splits.values() or folder == truth
            if not read and next(walk_images(folder), None) is not None:
                named = folder.name.lower() in SPLIT_NAMES
                skipped.add(WITHOUT_CLASSES if named else BESIDE, folder)
