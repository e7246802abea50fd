"""Find image files from paths on the command line: files, folders, glob patterns, list files."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vision_attn.core.errors import UserError
from vision_attn.data.io.skipped_files import SkippedFiles, is_hidden, is_image_name, made_by_us

HIDDEN_FOLDERS = "hidden folders"
LINKED_FOLDERS = "linked folders"
OURS = "folders that vision-attn wrote"
"""Reasons for which folders are skipped."""


def walk_images(
    folder: Path, skipped: SkippedFiles | None = None, follow_links: bool = False
) -> Iterator[Path]:
    """The image files below a folder, sorted by name: files first, then subfolders.

    Hidden files and folders, files with other endings, linked folders and folders that this
    program wrote are skipped. Only the names of one folder are held in memory at a time.

    Args:
        folder: where to search.
        skipped: counts what is skipped.
        follow_links: whether to enter folders that are symbolic links; each folder once.
    """
    skipped, entered = skipped or SkippedFiles(), {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=follow_links):
        if made_by_us(names):
            skipped.add(OURS, Path(parent))
            folders.clear()
            continue
        folders[:] = [
            name
            for name in sorted(folders)
            if is_entered(Path(parent, name), skipped, entered if follow_links else None)
        ]
        for name in sorted(names):
            if is_hidden(name):
                if is_image_name(name):
                    skipped.add("hidden files", Path(parent, name))
            elif is_image_name(name):
                yield Path(parent, name)
            else:
                skipped.add_ending(Path(parent, name))


def is_entered(folder: Path, skipped: SkippedFiles, entered: set[str] | None) -> bool:
    """Whether a search enters a subfolder; counts it if not.

    Args:
        folder: the subfolder.
        skipped: counts what is skipped.
        entered: the real paths of folders that were entered; None if links are not followed.
    """
    if is_hidden(folder.name):
        skipped.add(HIDDEN_FOLDERS, folder)
        return False
    if entered is None:
        if folder.is_symlink():
            skipped.add(LINKED_FOLDERS, folder)
            return False
        return True
    real = os.path.realpath(folder)
    if real in entered:
        skipped.add("folders that were read already", folder)
        return False
    entered.add(real)
    return True


def image_files(
    folder: Path, skipped: SkippedFiles | None = None, follow_links: bool = False
) -> list[Path]:
    """The image files below a folder, sorted by path; see `walk_images`."""
    return sorted(walk_images(folder, skipped, follow_links))


def listed_images(
    paths: Iterable[str | Path], skipped: SkippedFiles | None = None
) -> Iterator[Path]:
    """Expand paths lazily into image files, in their order.

    A folder stands for the images below it, `@list.txt` for the paths in that file, one per line,
    and a glob pattern such as `photos/**/*.jpg` for the files that match. Any other path is taken
    as a file, whether it exists or not. A `Path` is never taken as a list or a pattern.

    Args:
        paths: what to expand.
        skipped: counts what is skipped in folders.

    Raises:
        UserError: a folder has no images in it, a pattern matches nothing, or a list is missing.
    """
    for path in paths:
        text = path if isinstance(path, str) else ""
        if text.startswith("@") and not Path(text).exists():
            for line in read_lines(Path(text[1:])):
                yield from expand_folder(Path(line), skipped)
        elif glob.has_magic(text) and not Path(text).exists():
            # Path.glob does not accept absolute patterns.
            found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
            if not found:
                raise UserError(f"no file matches {text}.")
            for name in found:
                yield from expand_folder(Path(name), skipped)
        else:
            yield from expand_folder(Path(path), skipped)


def expand_folder(path: Path, skipped: SkippedFiles | None = None) -> Iterator[Path]:
    """The images below a folder; any other path is returned as it is.

    Raises:
        UserError: the folder has no images in it; it says what was skipped.
    """
    if not path.is_dir():
        yield path
        return
    empty, here = True, SkippedFiles()
    for file in walk_images(path, here):
        empty = False
        yield file
    if empty:
        why = here.line(path)
        raise UserError(f"{path} has no images in it.{f' Skipped: {why}.' if why else ''}")
    if skipped is not None:
        skipped.update(here)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a list of paths that are not blank."""
    try:
        # File names are bytes; those that are not valid UTF-8 are kept as they are.
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for line in lines:
                if line.strip():
                    yield line.rstrip("\r\n")
    except OSError as error:
        raise UserError(f"the list {path}: {error.strerror}.") from None
