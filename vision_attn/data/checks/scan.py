"""Lists the images of a folder, a table or splits, and what lies beside them; reads none."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from vision_attn.data.checks.survey import ImageRecord, Layout, Survey
from vision_attn.data.io.image import EXTENSIONS
from vision_attn.data.io.object_masks import lists_boxes
from vision_attn.data.sources.image_folder import (
    MASKS,
    find_split_folders,
    image_files,
    images_beside_masks,
    names_in,
    visible_folders,
)
from vision_attn.data.split import Split


def survey_of_folder(root: Path, truth: Path | None = None) -> Survey:
    """A folder of images as `fit` reads it, and what it passes over.

    `images` beside `masks` with the same folders is looked into, and the masks are taken as such.

    Raises:
        UserError: the folder is missing or empty, or has no training images.
    """
    inner = images_beside_masks(root)
    if inner is not None:
        root, truth = inner[0], truth or inner[1]
    if truth is None and lists_boxes(root / "boxes.csv"):
        truth = root / "boxes.csv"
    places = find_split_folders(root, default_split="train")
    images, classes = [], []
    for split, place in places.items():
        for folder in visible_folders(place):
            files = image_files(folder)
            images += [ImageRecord(str(file), split, folder.name) for file in files]
            classes.append((folder, bool(files)))
    empty = [str(folder) for folder, filled in classes if not filled]
    listed = {image.path for image in images}
    stray, hidden, foreign = beside(root, listed, truth)
    layout = Layout(
        stray=stray,
        hidden=hidden,
        foreign=foreign,
        unread=unread_folders(root, places, truth),
        empty=empty,
        mask_folders=mask_folders(places),
        inner=str(root) if inner else None,
    )
    return Survey(root, images, layout=layout, truth=truth)


def survey_of_splits(root: Path, splits: Mapping[str, Split], limit: int | None = None) -> Survey:
    """The image files of splits that a source or a table has listed."""
    images = [
        ImageRecord(name, split, label)
        for split, found in splits.items()
        for name, label in zip(found.names, found.labels, strict=True)
    ]
    return Survey(root, images, hash_limit=limit)


def mask_folders(places: Mapping[str, Path]) -> list[str]:
    """Class folders called `masks` or the like, whose folders are called as the other classes."""
    found = []
    for place in places.values():
        classes = visible_folders(place)
        names = {folder.name for folder in classes}
        found += [
            str(folder)
            for folder in classes
            if folder.name.lower() in MASKS and names_in(folder) and names_in(folder) <= names
        ]
    return found


def unread_folders(root: Path, places: Mapping[str, Path], truth: Path | None) -> list[str]:
    """Folders beside the split folders, which nothing reads."""
    if root in places.values():
        return []
    read = {*places.values(), truth}
    return [str(folder) for folder in visible_folders(root) if folder not in read]


def beside(
    root: Path, listed: set[str], truth: Path | None
) -> tuple[list[str], list[str], list[str]]:
    """Images that are in no class, hidden files and folders, and files that are no images."""
    stray, hidden, foreign = [], [], []
    for path, is_folder in everything(root, truth):
        if path.name.startswith(".") or (is_folder and path.name.startswith("__")):
            hidden.append(str(path))
        elif is_folder or str(path) in listed or path == truth:
            continue
        elif path.suffix.lower() in EXTENSIONS:
            stray.append(str(path))
        else:
            foreign.append(str(path))
    return stray, hidden, foreign


def everything(root: Path, truth: Path | None) -> Iterator[tuple[Path, bool]]:
    """Files and folders below a folder, and whether each is a folder; hidden ones from outside."""
    for place, folders, names in os.walk(root):
        yield from ((Path(place, name), True) for name in sorted(folders))
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__")) and Path(place, name) != truth
        ]
        yield from ((Path(place, name), False) for name in sorted(names))
