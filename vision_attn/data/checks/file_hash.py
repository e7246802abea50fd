"""Files that are the same, byte for byte, without comparing each with each."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from vision_attn.core.parallel import threaded_map
from vision_attn.core.progress import progress


def groups_of_copies(paths: Sequence[str], limit: int | None = None) -> list[list[int]]:
    """Indices of equal files, in groups of two and more.

    Only files of one size are read, so that photographs are hardly read at all.

    Args:
        paths: the files; those that cannot be read equal nothing, nor do empty ones.
        limit: bytes that may be read; nothing is found where it would take more.
    """
    sizes = [size_of(path) for path in paths]
    suspects = [index for group in groups(sizes) for index in group]
    if limit is not None and sum(sizes[index] or 0 for index in suspects) > limit:
        return []
    hashed = threaded_map(digest_of, (paths[index] for index in suspects))
    digests = progress(hashed, "hashing", len(suspects), "files")
    return [[suspects[place] for place in group] for group in groups(digests)]


def groups(keys: Iterable[Hashable]) -> list[list[int]]:
    """Places of equal keys, in groups of two and more; None equals nothing.

    >>> groups(["a", "b", None, "a", None])
    [[0, 3]]
    """
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            places[key].append(place)
    return [found for found in places.values() if len(found) > 1]


def size_of(path: str) -> int | None:
    """Bytes of a file; None if there are none."""
    try:
        return Path(path).stat().st_size or None
    except OSError:
        return None


def digest_of(path: str) -> bytes | None:
    """A hash of a file's content, read piece by piece."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return None
