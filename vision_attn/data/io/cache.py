"""Disk cache of decoded images: one file per split, which later trainings memory-map."""

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
from vision_attn.data.io import gray_range, image, tiff
from vision_attn.data.io.decode import Decoded, decode, read_again
from vision_attn.data.split import Split

CHECKSUM = "sha256"
READERS = (image, gray_range, tiff)
STALE_AFTER = 3600  # seconds without a change after which a temporary file counts as abandoned
DIGEST_SIZE = 32  # bytes of the checksum at the start of the file
# It covers the rest of the file: all images, then one byte per image (1 if it could be read).


def load_or_decode(folder: Path, split: Split, size: int, title: str) -> Decoded:
    """Load a split's images (N, 3, size, size) from the cache; on a cache miss, decode them first.

    The file name is a hash of everything that the content depends on (see `cache_key`), so a file
    is never stale. Its checksum is verified each time, and a damaged file is written again. If
    several processes need the same file, one decodes and the others wait. On a file system
    without locks each of them decodes, and atomic writes keep the complete file of one of them.
    Old files are never deleted here; the user can delete them.

    Raises:
        UserError: the folder cannot be written, or reading back what was written fails.
    """
    path = folder / f"{cache_key(split, size)}.images"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = memory_map(path, len(split), size)
            if found is None:
                write(path, decode(split, size, title), size)
                found = memory_map(path, len(split), size)
    except (OSError, WriteError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(
            f"--data.cache: {path} cannot be written ({reason}); free some space, choose another "
            "folder, or train without a cache."
        ) from error
    if found is None:
        raise UserError(f"--data.cache: {path} is damaged just after writing; check the disk.")
    images, was_read = found
    return read_again(images, (~was_read).nonzero().flatten().tolist(), split, size)


def cache_key(split: Split, size: int) -> str:
    """Cache key: a hash of everything that the decoded images depend on.

    That is the code that reads them, the version of Pillow, the image size, which gray values are
    black and white, and the path, length and modification times of each file (including `ctime`,
    which programs cannot set back).
    """
    checksum = hashlib.new(CHECKSUM)
    for module in READERS:
        checksum.update(Path(str(module.__file__)).read_bytes())
    checksum.update(f"{PIL.__version__}\0{size}\0{split.gray_range}\n".encode())
    for name in split.names:
        checksum.update(f"{name}\0{file_state(name)}\n".encode())
    return checksum.hexdigest()


def file_state(name: str) -> tuple[int, ...]:
    """Length, mtime and ctime of a file; empty if it does not exist."""
    try:
        stat = Path(name).stat()
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def write(path: Path, images: Iterable[Tensor | None], size: int) -> None:
    """Atomically write images to a cache file in their order; None is an unreadable image."""
    remove_abandoned(path)
    blank = bytes(3 * size * size)

    def write_images(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(bytes(DIGEST_SIZE))
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

    atomic_write(path, write_images)


def remove_abandoned(path: Path) -> None:
    """Remove temporary files of processes that were killed while they wrote `path`."""
    for temporary in path.parent.glob(f".{path.name}.*"):
        with suppress(FileNotFoundError):  # another process has removed it
            if time.time() - temporary.stat().st_mtime > STALE_AFTER:
                temporary.unlink()


def memory_map(path: Path, count: int, size: int) -> tuple[Tensor, Tensor] | None:
    """Memory-map a cache file: images (N, 3, size, size), and whether each could be read, (N,).

    Writing to the images does not change the file. None if the file is missing or damaged.
    """
    pixels = count * 3 * size * size
    total = DIGEST_SIZE + pixels + count
    if not path.is_file() or path.stat().st_size != total:
        return None
    with path.open("rb") as file:
        if file.read(DIGEST_SIZE) != hashlib.file_digest(file, CHECKSUM).digest():
            return None
    content = torch.from_file(str(path), shared=False, size=total, dtype=torch.uint8)[DIGEST_SIZE:]
    return content[:pixels].view(count, 3, size, size), content[pixels:].bool()
