"""List the image files of a folder or of splits, and the files that are ignored; read none."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vision_attn.data.checks.survey import ImageRecord, Layout, Survey
from vision_attn.data.io.object_masks import lists_boxes
from vision_attn.data.io.paths import image_files
from vision_attn.data.io.skipped_files import is_hidden, is_image_name
from vision_attn.data.sources.folder_layout import (
    MASKS,
    classes_beside,
    find_root,
    find_split_folders,
    images_beside_masks,
    is_ours,
    names_in,
    visible_folders,
)
from vision_attn.data.split import Split


def survey_of_folder(root: Path, truth: Path | None = None) -> Survey:
    """Survey a folder: the images that `fit` would read, and the files that it would ignore.

    If the folder has `images` beside `masks` with the same class folders, `images` is surveyed and
    the masks are used as ground truth.

    Raises:
        UserError: the folder is missing or empty, or has no training images.
    """
    root = find_root(root)
    pair = images_beside_masks(root)
    if pair is not None:
        root, truth = pair[0], truth or pair[1]
    if truth is None and lists_boxes(root / "boxes.csv"):
        truth = root / "boxes.csv"
    unclear = classes_beside(root)
    split_folders = find_split_folders(root, "train", split_folders=True if unclear else None)
    images, classes = [], []
    for split, split_folder in split_folders.items():
        for folder in visible_folders(split_folder):
            files = image_files(folder)
            images += [ImageRecord(str(file), split, folder.name) for file in files]
            classes.append((folder, bool(files)))
    empty = [str(folder) for folder, has_images in classes if not has_images]
    listed = {image.path for image in images}
    guessed = None if truth else masks_beside(root, split_folders, images)
    truth = truth or guessed
    layout = Layout(
        **ignored_files(root, listed, truth),
        unread=unread_folders(root, split_folders, truth),
        empty=empty,
        unclear=unclear,
        mask_folders=mask_folders(split_folders),
        inner=str(root) if pair else None,
        guessed_truth=str(guessed) if guessed else None,
    )
    return Survey(root, images, layout=layout, truth=truth)


def survey_of_splits(root: Path, splits: Mapping[str, Split], limit: int | None = None) -> Survey:
    """Survey the image files of splits; the folders around them are not scanned."""
    images = [
        ImageRecord(name, split_name, label)
        for split_name, split in splits.items()
        for name, label in zip(split.names, split.labels, strict=True)
    ]
    return Survey(root, images, hash_limit=limit)


def mask_folders(split_folders: Mapping[str, Path]) -> list[str]:
    """Class folders with a name like `masks`, whose subfolders are named like the other classes."""
    found = []
    for split_folder in split_folders.values():
        classes = visible_folders(split_folder)
        names = {folder.name for folder in classes}
        found += [
            str(folder)
            for folder in classes
            if folder.name.lower() in MASKS and names_in(folder) and names_in(folder) <= names
        ]
    return found


def masks_beside(
    root: Path, split_folders: Mapping[str, Path], images: Sequence[ImageRecord]
) -> Path | None:
    """The folder beside the split folders that holds masks: by its name and the names in it."""
    stems = {Path(image.path).stem for image in images}
    for folder in map(Path, unread_folders(root, split_folders, None)):
        if folder.name.lower() in MASKS:
            found = [path.stem for path in folder.rglob("*") if is_image_name(path.name)]
            if found and sum(stem in stems for stem in found) > len(found) / 2:
                return folder
    return None


def unread_folders(root: Path, split_folders: Mapping[str, Path], truth: Path | None) -> list[str]:
    """Folders beside the split folders, which are not read."""
    if root in split_folders.values():
        return []
    read = {*split_folders.values(), truth}
    return [str(folder) for folder in visible_folders(root) if folder not in read]


def ignored_files(root: Path, listed: set[str], truth: Path | None) -> dict[str, list[str]]:
    """Paths that are not training images, by the field of `Layout` that they belong to."""
    kinds = ("stray", "hidden", "foreign", "linked", "ours")
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    for path, is_folder in walk(root, truth):
        if is_hidden(path.name) and (is_folder or path.name.startswith(".")):
            found["hidden"].append(str(path))
        elif is_folder and is_ours(path):
            found["ours"].append(str(path))
        elif is_folder and path.is_symlink() and not holds(path, listed):
            found["linked"].append(str(path))
        elif is_folder or str(path) in listed or path == truth:
            continue
        else:
            found["stray" if is_image_name(path.name) else "foreign"].append(str(path))
    return found


def holds(folder: Path, listed: set[str]) -> bool:
    """Whether a listed image is in a folder or below it."""
    inside = str(folder) + os.sep
    return any(path.startswith(inside) for path in listed)


def walk(root: Path, truth: Path | None) -> Iterator[tuple[Path, bool]]:
    """Every file and folder below `root`, each with whether it is a folder.

    Hidden folders, folders that this program wrote and the ground truth are listed, but not
    entered.
    """
    for parent, folders, names in os.walk(root):
        yield from ((Path(parent, name), True) for name in sorted(folders))
        folders[:] = [
            name
            for name in folders
            if not is_hidden(name)
            and Path(parent, name) != truth
            and not is_ours(Path(parent, name))
        ]
        yield from ((Path(parent, name), False) for name in sorted(names))
