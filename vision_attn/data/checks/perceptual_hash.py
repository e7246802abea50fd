"""Near-duplicate images by perceptual hash, without comparing all pairs.

Each image has a hash of 128 bits: whether the gray value increases from cell to cell of an 8x8
grid, rightward and downward (the difference hash, dHash, of N. Krawetz, 2013, in both directions;
the library imagehash has it, but needs SciPy and PyWavelets and compares all pairs). The hashes are
sorted as numbers, and each is compared with its next few neighbors only; then all are rotated by
one byte and sorted again, 16 times, so that two hashes that differ in a few bits are neighbors in
at least one of the orders. This takes O(n log n) time for any images, and finds nearly all pairs.
The pairs found by hash are then confirmed on the thumbnails.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

NEIGHBORS = 8  # compared in each order
MAX_BITS = 10  # of 128 that may differ
MAX_DISTANCE = 0.003  # 1 - correlation of the thumbnails
MIN_DEVIATION = 2.0  # of 255: a thumbnail with a smaller standard deviation is noise
POPCOUNT = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)

Bytes = NDArray[np.uint8]


def groups_of_alike(thumbnails: Bytes) -> list[list[int]]:
    """Indices of images that look the same, in groups of two or more.

    Args:
        thumbnails: gray, uint8 (N, 9, 9).

    >>> ramp = np.arange(81, dtype=np.uint8).reshape(9, 9)
    >>> groups_of_alike(np.stack([ramp, ramp[::-1], 2 * ramp]))
    [[0, 2]]
    """
    hashes = difference_hashes(thumbnails)
    parent = list(range(len(hashes)))
    for one, other in confirmed(thumbnails, candidates(hashes)):
        one, other = root_of(parent, one), root_of(parent, other)
        parent[max(one, other)] = min(one, other)
    found: dict[int, list[int]] = {}
    for index in range(len(parent)):
        found.setdefault(root_of(parent, index), []).append(index)
    return [group for group in found.values() if len(group) > 1]


def root_of(parent: list[int], index: int) -> int:
    """The first image of a group (find of union-find, with path halving)."""
    while parent[index] != index:
        parent[index] = index = parent[parent[index]]
    return index


def difference_hashes(thumbnails: Bytes) -> Bytes:
    """Difference hashes (dHash) of 16 bytes, uint8 (N, 16)."""
    rightward = thumbnails[:, :8, 1:] > thumbnails[:, :8, :8]
    downward = thumbnails[:, 1:, :8] > thumbnails[:, :8, :8]
    bits = np.concatenate([rightward, downward], axis=1).reshape(len(thumbnails), 128)
    return np.packbits(bits, axis=1)


def candidates(hashes: Bytes) -> NDArray[np.int64]:
    """Pairs of indices whose hashes differ in few bits, without repeats, (P, 2)."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for rotation in range(hashes.shape[1]):
        rotated = np.ascontiguousarray(np.roll(hashes, -rotation, axis=1)).view(">u8")
        order = np.lexsort((rotated[:, 1], rotated[:, 0]))
        for step in range(1, min(NEIGHBORS, len(order) - 1) + 1):
            one, other = order[:-step], order[step:]
            near = POPCOUNT[hashes[one] ^ hashes[other]].sum(1) <= MAX_BITS
            found.append(np.stack([one[near], other[near]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def confirmed(thumbnails: Bytes, pairs: NDArray[np.int64]) -> Iterator[list[int]]:
    """The pairs whose thumbnails are equal up to brightness and contrast."""
    for start in range(0, len(pairs), 100_000):  # in batches, to bound the memory
        batch = pairs[start : start + 100_000]
        one, other = (centered(thumbnails[batch[:, side]]) for side in (0, 1))
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        varies = norms > thumbnails[0].size * MIN_DEVIATION**2
        correlation = (one * other).sum(1) / np.maximum(norms, 1e-9)
        yield from batch[varies & (correlation >= 1 - MAX_DISTANCE)].tolist()


def centered(thumbnails: Bytes) -> NDArray[np.float32]:
    """Thumbnails as vectors with mean 0, float32 (N, 81)."""
    vectors = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    return vectors - vectors.mean(1, keepdims=True)
