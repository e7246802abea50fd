"""Files that are whole or not there, whenever a process is killed and however full the disk is."""

import errno
import glob
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from vision_attn.core.errors import UserError, first_line

FULL = (errno.ENOSPC, errno.EDQUOT)
TOO_LARGE = errno.EFBIG  # what a limit on the size of files (ulimit -f) answers


class Unwritten(UserError):
    """A file that could not be written: the disk is full, or may not be written to."""


def write_whole(place: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside its place, then move it there: no half-written file is ever seen.

    Args:
        place: where the file belongs.
        write: writes it to the path that it is given.

    Raises:
        Unwritten: the disk is full, or the place cannot be written to; nothing is left there.
    """
    temporary: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb") as written:  # on the disk before it has the name, come what may
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(place)
    except (OSError, SafetensorError, RuntimeError) as error:
        if is_unwritable(error) or getattr(error, "errno", None):  # the system's own word
            raise unwritten(place, error) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def unwritten(place: object, error: BaseException) -> Unwritten:
    """Which file was not written, and why.

    >>> str(unwritten("a.csv", OSError(errno.ENOSPC, "")))
    'the disk is full: a.csv was not written (free some space).'
    >>> str(unwritten("a.csv", OSError(errno.EACCES, "Permission denied")))
    'a.csv was not written: Permission denied.'
    """
    if is_disk_full(error):
        return Unwritten(f"the disk is full: {place} was not written (free some space).")
    reason = getattr(error, "strerror", None) or first_line(error)
    if tells(error, (TOO_LARGE,)):
        reason = os.strerror(TOO_LARGE)
    return Unwritten(f"{place} was not written: {reason}.")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error tells that no more can be written.

    >>> is_disk_full(OSError(errno.ENOSPC, "x")), is_disk_full(OSError(errno.EACCES, "x"))
    (True, False)
    """
    return tells(error, FULL)


def is_unwritable(error: BaseException) -> bool:
    """Whether an error tells that a file could not grow: a full disk, or a limit on its size.

    >>> is_unwritable(OSError(errno.EFBIG, "x")), is_unwritable(OSError(errno.ENOENT, "x"))
    (True, False)
    """
    return tells(error, (*FULL, TOO_LARGE))


def tells(error: BaseException, numbers: tuple[int, ...]) -> bool:
    """Whether an error is one of the system's; safetensors and torch say so in words."""
    if isinstance(error, OSError) and error.errno in numbers:
        return True
    return any(os.strerror(number) in str(error) for number in numbers)


def remove_unfinished(place: Path) -> None:
    """Remove what a process that was killed while it wrote `place` left beside it."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*"):
        left.unlink(missing_ok=True)
