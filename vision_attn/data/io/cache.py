"""Decoded images of a split on disk: one file, which later trainings map into memory."""

import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import PIL
import torch
from filelock import FileLock
from torch import Tensor

from vision_attn.core.atomic import WriteError, atomic_write
from vision_attn.core.errors import UserError, first_line
from vision_attn.data.io import image as reader
from vision_attn.data.io.decode import Decoded, decode, read_again
from vision_attn.data.split import Split

CHECKSUM = "sha256"
ABANDONED = 3600  # seconds without a change, after which nobody writes a file any more
HEAD = 32  # bytes of the checksum, which is of all that follows: the images, then a byte for each


def cached(folder: Path, split: Split, size: int, title: str) -> Decoded:
    """A split's images (N, 3, size, size) from the cache, which is filled where it lacks them.

    The file is named by what its content hangs on (see `key_of`), so it is never stale; its
    checksum is compared each time, so a damaged one is made anew. Of several processes that ask
    at once, one decodes and the others wait; where the file system knows no locks, each decodes,
    and the file is one of theirs as a whole. Old files are for the user to delete.

    Raises:
        UserError: the folder cannot be written, or does not hold what was written.
    """
    place = folder / f"{key_of(split, size)}.images"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            found = mapped(place, len(split), size)
            if found is None:
                write(place, decode(split, size, title), size)
                found = mapped(place, len(split), size)
    except (OSError, WriteError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(
            f"--data.cache: {place} cannot be written ({reason}); free some space, name another "
            "folder, or do without."
        ) from error
    if found is None:
        raise UserError(f"--data.cache: {place} does not hold what was written; is the disk sound?")
    images, was_read = found
    return read_again(images, (~was_read).nonzero().flatten().tolist(), split, size)


def key_of(split: Split, size: int) -> str:
    """What decoded images hang on, as a checksum.

    That is the code that reads them, Pillow's release, their size, and of each file its path,
    length and the times of its last change (`ctime` too, which no program can set back).
    """
    checksum = hashlib.new(CHECKSUM, Path(reader.__file__).read_bytes())
    checksum.update(f"{PIL.__version__}\0{size}\n".encode())
    for name in split.names:
        checksum.update(f"{name}\0{state_of(name)}\n".encode())
    return checksum.hexdigest()


def state_of(name: str) -> tuple[int, ...]:
    """Length of a file and the times of its last change; nothing where there is none."""
    try:
        found = Path(name).stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def write(place: Path, images: Iterable[Tensor | None], size: int) -> None:
    """Write images in their order beside their place, then move them there; None is unreadable."""
    remove_abandoned(place)
    blank = bytes(3 * size * size)

    def write_images(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(bytes(HEAD))
            checksum, was_read = hashlib.new(CHECKSUM), bytearray()
            for image in images:
                content = blank if image is None else image.contiguous().numpy().tobytes()
                was_read.append(image is not None)
                checksum.update(content)
                file.write(content)
            checksum.update(was_read)
            file.write(was_read)
            file.seek(0)
            file.write(checksum.digest())

    atomic_write(place, write_images)


def remove_abandoned(place: Path) -> None:
    """Remove what processes that were killed while they wrote `place` left beside it."""
    for left in place.parent.glob(f".{place.name}.*"):
        with suppress(FileNotFoundError):  # another process was quicker
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()


def mapped(place: Path, count: int, size: int) -> tuple[Tensor, Tensor] | None:
    """Images (N, 3, size, size) in a file, and which of them could be read, (N,).

    What is written to them stays in this process. None where the file is not there or damaged.
    """
    pixels = count * 3 * size * size
    total = HEAD + pixels + count
    if not place.is_file() or place.stat().st_size != total:
        return None
    with place.open("rb") as file:
        if file.read(HEAD) != hashlib.file_digest(file, CHECKSUM).digest():
            return None
    content = torch.from_file(str(place), shared=False, size=total, dtype=torch.uint8)[HEAD:]
    return content[:pixels].view(count, 3, size, size), content[pixels:].bool()
