"""Image files by what a person types: files, folders, patterns, and lists of them."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vision_attn.core.errors import UserError
from vision_attn.data.io.image import EXTENSIONS


def walk_images(folder: Path) -> Iterator[Path]:
    """The image files below a folder, without hidden ones: by name, folders after files.

    Only one folder's names are held at a time.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(place, name)


def image_files(folder: Path) -> list[Path]:
    """The image files below a folder, by path, without hidden ones."""
    return sorted(walk_images(folder))


def listed_images(paths: Iterable[str | Path]) -> Iterator[Path]:
    """The image files that paths name, in their order, as many as there may be.

    A folder stands for the images below it, `@list.txt` for the paths in that file, one a line,
    and a pattern such as `photos/**/*.jpg` for what it finds. Any other path is a file, whether
    it is there or not. A `Path` is never a list or a pattern.

    Raises:
        UserError: a folder has no images in it, a pattern finds nothing, or there is no such list.
    """
    for path in paths:
        word = path if isinstance(path, str) else ""
        if word.startswith("@") and not Path(word).exists():
            for line in lines_of(Path(word[1:])):
                yield from folder_or_file(Path(line))
        elif glob.has_magic(word) and not Path(word).exists():
            # Path.glob takes no absolute patterns.
            found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207
            if not found:
                raise UserError(f"{word} finds no file.")
            for name in found:
                yield from folder_or_file(Path(name))
        else:
            yield from folder_or_file(Path(path))


def folder_or_file(path: Path) -> Iterator[Path]:
    """A file itself, or the images below a folder."""
    if not path.is_dir():
        yield path
        return
    empty = True
    for file in walk_images(path):
        empty = False
        yield file
    if empty:
        raise UserError(f"{path} has no images in it.")


def lines_of(place: Path) -> Iterator[str]:
    """The lines of a list of paths that say something."""
    try:
        # Names of files are bytes; those that are no UTF-8 are kept as they are.
        with place.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for line in lines:
                if line.strip():
                    yield line.rstrip("\r\n")
    except OSError as error:
        raise UserError(f"the list {place}: {error.strerror}.") from None
