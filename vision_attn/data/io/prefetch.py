"""Reads image files ahead of who needs them, by several threads, in order and bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import cpu_count
from pathlib import Path

from torch import Tensor

from vision_attn.data.io.image import read_image


@dataclass(frozen=True)
class ReadFile:
    """A file that was read, or could not be.

    Attributes:
        path: which.
        image: uint8 (3, size, size), as the model sees it; None if it could not be read.
        error: why not, in a line that names the file.
    """

    path: Path
    image: Tensor | None
    error: str | None = None


def read_file(path: Path, size: int) -> ReadFile:
    """One file at the model's size."""
    try:
        return ReadFile(path, read_image(path, size))
    except OSError as error:
        return ReadFile(path, None, str(error))


def read_ahead(paths: Iterable[Path], size: int, ahead: int) -> Iterator[ReadFile]:
    """Files in their order; at most `ahead` of them are read and not yet taken.

    >>> [file.error for file in read_ahead([Path("none.png")], size=32, ahead=4)]
    ['none.png: there is no such file.']
    """
    rest = iter(paths)
    # Decoding leaves Python's lock to others, so threads do, and nothing is copied between them.
    with ThreadPoolExecutor(cpu_count()) as pool:
        try:
            waiting: deque[Future[ReadFile]] = deque(
                pool.submit(read_file, path, size) for path in islice(rest, ahead)
            )
            while waiting:
                yield waiting.popleft().result()
                waiting += [pool.submit(read_file, path, size) for path in islice(rest, 1)]
        finally:  # also where the one who takes stops early
            pool.shutdown(cancel_futures=True)


def in_batches(files: Iterator[ReadFile], batch_size: int) -> Iterator[list[ReadFile]]:
    """Lists of `batch_size` files, the last one shorter."""
    while batch := list(islice(files, batch_size)):
        yield batch
