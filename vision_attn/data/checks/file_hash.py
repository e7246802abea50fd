"""Exact duplicates of files, found by size and content hash in linear time."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from vision_attn.core.parallel import threaded_map
from vision_attn.core.progress import progress


def groups_of_copies(paths: Sequence[str], limit: int | None = None) -> list[list[int]]:
    """Indices of files with identical bytes, in groups of two or more.

    Only files that share their size with another are read, so few photographs are read at all.

    Args:
        paths: the files; unreadable and empty ones match nothing.
        limit: bytes that may be read; if more would be needed, no group is returned.
    """
    sizes = [size_of(path) for path in paths]
    suspects = [index for group in groups(sizes) for index in group]
    if limit is not None and sum(sizes[index] or 0 for index in suspects) > limit:
        return []
    hashed = threaded_map(digest_of, (paths[index] for index in suspects))
    digests = progress(hashed, "hashing", len(suspects), "files")
    return [[suspects[k] for k in group] for group in groups(digests)]


def groups(keys: Iterable[Hashable]) -> list[list[int]]:
    """Indices of equal keys, in groups of two or more; None matches nothing.

    >>> groups(["a", "b", None, "a", None])
    [[0, 3]]
    """
    indices: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        if key is not None:
            indices[key].append(index)
    return [group for group in indices.values() if len(group) > 1]


def size_of(path: str) -> int | None:
    """Size of a file in bytes; None if it is empty or cannot be read."""
    try:
        return Path(path).stat().st_size or None
    except OSError:
        return None


def digest_of(path: str) -> bytes | None:
    """BLAKE2b hash of a file's content, read in chunks; None if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return None
