"""Atomic file writes: a file is complete or missing, even after a crash or on a full disk."""

import errno
import glob
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from vision_attn.core.errors import UserError, first_line

FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
TOO_LARGE = errno.EFBIG  # a limit on the size of files (ulimit -f)


class WriteError(UserError):
    """A file could not be written: the disk is full, or its folder is not writable."""


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file beside `path`, then rename it: no partial file is ever visible.

    Args:
        path: the file to make or replace.
        write: writes the content to the path that it is given.

    Raises:
        WriteError: the disk is full, or the file cannot be written; no temporary file is left.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb") as written:  # flush to the disk before the rename
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, SafetensorError, RuntimeError) as error:
        if is_write_error(error) or getattr(error, "errno", None):
            raise write_error(path, error) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path, advice: str = "") -> None:
    """Make a folder that can be written to, and those above it, unless it is there.

    Args:
        path: the folder.
        advice: what to do if it cannot be made, such as another option; it follows the reason.

    Raises:
        WriteError: it cannot be made, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error, advice) from error
    as_this_user = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if not os.access(path, os.W_OK, **as_this_user):
        raise write_error(path, PermissionError(errno.EACCES, "no right to write there"), advice)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically.

    File names are bytes; those that are not UTF-8 are written as escapes.
    """
    atomic_write(path, lambda new: new.write_text(text, "utf-8", "backslashreplace", newline=""))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def replace_symlink(link: Path, target: str) -> None:
    """Point a symbolic link at `target`, replacing the link that was there."""
    temporary = link.parent / f".{link.name}-{os.getpid()}"
    temporary.symlink_to(target)
    temporary.replace(link)


def write_error(path: object, error: BaseException, advice: str = "") -> WriteError:
    """The error for a file that was not written, with the reason and what to do.

    >>> str(write_error("a.csv", OSError(errno.ENOSPC, "")))
    'the disk is full: a.csv was not written (free some space).'
    >>> str(write_error("a.csv", OSError(errno.EACCES, "Permission denied")))
    'a.csv was not written: Permission denied.'
    """
    advice = f" {advice}" if advice else ""
    if is_disk_full(error):
        return WriteError(f"the disk is full: {path} was not written (free some space).{advice}")
    reason = getattr(error, "strerror", None) or first_line(error)
    if has_errno(error, (TOO_LARGE,)):
        reason = os.strerror(TOO_LARGE)
    return WriteError(f"{path} was not written: {reason}.{advice}")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that the disk is full.

    >>> is_disk_full(OSError(errno.ENOSPC, "x")), is_disk_full(OSError(errno.EACCES, "x"))
    (True, False)
    """
    return has_errno(error, FULL)


def is_refused_by_system(error: OSError) -> bool:
    """Whether the system refused a path: no rights, a read-only disk, a file in place of a folder.

    >>> is_refused_by_system(OSError(errno.EACCES, "x")), is_refused_by_system(OSError("x"))
    (True, False)
    """
    return has_errno(error, REFUSED)


def is_write_error(error: BaseException) -> bool:
    """Whether an error means that a file could not grow: full disk, or a limit on file sizes.

    >>> is_write_error(OSError(errno.EFBIG, "x")), is_write_error(OSError(errno.ENOENT, "x"))
    (True, False)
    """
    return has_errno(error, (*FULL, TOO_LARGE))


def has_errno(error: BaseException, numbers: tuple[int, ...]) -> bool:
    """Whether an error has one of these error numbers; safetensors and torch only give the text."""
    if isinstance(error, OSError) and error.errno in numbers:
        return True
    return any(os.strerror(number) in str(error) for number in numbers)


def remove_temporary_files(path: Path) -> None:
    """Remove the temporary files of `path` that a killed process left."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        left.unlink(missing_ok=True)
