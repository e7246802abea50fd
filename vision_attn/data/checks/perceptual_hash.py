"""Pictures that look the same, without comparing each with each.

Each picture has a hash of 128 bits: whether grey rises from place to place of an 8x8 grid, to the
right and downwards (the difference hash of N. Krawetz, 2013, in both directions; the library
imagehash has it, with SciPy and wavelets, but compares each with each). Hashes are sorted as
numbers, and each is compared with its next few neighbours alone; then all are rotated by a byte
and sorted again, 16 times, so that two hashes that differ in a few bits stand side by side in one
of the orders. That takes n log n steps whatever the pictures are, and finds nearly all pairs. What
the hash finds, the thumbnails confirm.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 8  # compared in each order
BITS = 10  # of 128 that may differ
UNLIKE = 0.003  # 1 - correlation of thumbnails that may remain
FAINT = 2.0  # of 255: a thumbnail that varies less is noise
ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)

Bytes = NDArray[np.uint8]


def groups_of_alike(thumbnails: Bytes) -> list[list[int]]:
    """Places of pictures that look the same, in groups of two and more.

    Args:
        thumbnails: grey, uint8 (N, 9, 9).

    >>> ramp = np.arange(81, dtype=np.uint8).reshape(9, 9)
    >>> groups_of_alike(np.stack([ramp, ramp[::-1], 2 * ramp]))
    [[0, 2]]
    """
    hashes = difference_hashes(thumbnails)
    first = list(range(len(hashes)))  # of each picture's group
    for one, other in confirmed(thumbnails, candidates(hashes)):
        one, other = root_of(first, one), root_of(first, other)
        first[max(one, other)] = min(one, other)
    found: dict[int, list[int]] = {}
    for place in range(len(first)):
        found.setdefault(root_of(first, place), []).append(place)
    return [group for group in found.values() if len(group) > 1]


def root_of(first: list[int], place: int) -> int:
    """The first picture of a group, by way of earlier ones (union-find, halving the way)."""
    while first[place] != place:
        first[place] = place = first[first[place]]
    return place


def difference_hashes(thumbnails: Bytes) -> Bytes:
    """Hashes of 16 bytes, (N, 16)."""
    rightwards = thumbnails[:, :8, 1:] > thumbnails[:, :8, :8]
    downwards = thumbnails[:, 1:, :8] > thumbnails[:, :8, :8]
    bits = np.concatenate([rightwards, downwards], axis=1).reshape(len(thumbnails), 128)
    return np.packbits(bits, axis=1)


def candidates(hashes: Bytes) -> NDArray[np.int64]:
    """Pairs of places whose hashes differ in few bits, each once, (P, 2)."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for turn in range(hashes.shape[1]):
        turned = np.ascontiguousarray(np.roll(hashes, -turn, axis=1)).view(">u8")
        order = np.lexsort((turned[:, 1], turned[:, 0]))
        for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            one, other = order[:-step], order[step:]
            near = ONES[hashes[one] ^ hashes[other]].sum(1) <= BITS
            found.append(np.stack([one[near], other[near]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def confirmed(thumbnails: Bytes, pairs: NDArray[np.int64]) -> Iterator[list[int]]:
    """The pairs whose thumbnails agree but for brightness and contrast."""
    for start in range(0, len(pairs), 100_000):  # some at a time, to bound the memory
        part = pairs[start : start + 100_000]
        one, other = (centred(thumbnails[part[:, side]]) for side in (0, 1))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        enough = lengths > thumbnails[0].size * FAINT**2
        agreement = (one * other).sum(1) / np.maximum(lengths, 1e-9)
        yield from part[enough & (agreement >= 1 - UNLIKE)].tolist()


def centred(thumbnails: Bytes) -> NDArray[np.float32]:
    """Thumbnails as vectors of mean 0, (N, 81)."""
    vectors = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    return vectors - vectors.mean(1, keepdims=True)
