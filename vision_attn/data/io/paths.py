"""Find image files from paths on the command line: files, folders, glob patterns, list files."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vision_attn.core.errors import UserError
from vision_attn.data.io.image import EXTENSIONS


def walk_images(folder: Path) -> Iterator[Path]:
    """The image files below a folder, sorted by name: files first, then subfolders; no hidden ones.

    Only the file names of one folder are held in memory at a time.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(parent, name)


def image_files(folder: Path) -> list[Path]:
    """The image files below a folder, sorted by path, without hidden ones."""
    return sorted(walk_images(folder))


def listed_images(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Expand paths lazily into image files, in their order.

    A folder stands for the images below it, `@list.txt` for the paths in that file, one per line,
    and a glob pattern such as `photos/**/*.jpg` for the files that match. Any other path is taken
    as a file, whether it exists or not. A `Path` is never taken as a list or a pattern.

    Raises:
        UserError: a folder has no images in it, a pattern matches nothing, or a list is missing.
    """
    for path in paths:
        text = path if isinstance(path, str) else ""
        if text.startswith("@") and not Path(text).exists():
            for line in read_lines(Path(text[1:])):
                yield from expand_folder(Path(line))
        elif glob.has_magic(text) and not Path(text).exists():
            # Path.glob does not accept absolute patterns.
            found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
            if not found:
                raise UserError(f"no file matches {text}.")
            for name in found:
                yield from expand_folder(Path(name))
        else:
            yield from expand_folder(Path(path))


def expand_folder(path: Path) -> Iterator[Path]:
    """The images below a folder; any other path is returned as it is."""
    if not path.is_dir():
        yield path
        return
    empty = True
    for file in walk_images(path):
        empty = False
        yield file
    if empty:
        raise UserError(f"{path} has no images in it.")


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
