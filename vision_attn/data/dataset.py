"""Holds a split's images: decoded once into memory where they fit, else read batch by batch."""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_attn.core.errors import UserError
from vision_attn.data.io.decode import Decoded
from vision_attn.data.split import Split

Batch = tuple[Tensor, Tensor]


def fits_in_memory(count: int, size: int, limit: int) -> bool:
    """Whether that many uint8 images of three channels stay within the limit in bytes.

    >>> fits_in_memory(50_000, 32, limit=4 * 2**30), fits_in_memory(50_000, 224, limit=4 * 2**30)
    (True, False)
    """
    return count * 3 * size * size <= limit


class InMemoryDataset(Dataset):
    """A split decoded once: uint8 images (N, 3, size, size), handed out a batch at a time.

    Files that cannot be read are left out and named on standard error.
    """

    def __init__(self, split: Split, targets: Sequence[int], size: int, decoded: Decoded) -> None:
        report_unreadable(split, decoded.unreadable)
        self.images = decoded.images
        self.unreadable = sorted(decoded.unreadable)
        self.kept = [k for k in range(len(split)) if k not in decoded.unreadable]
        self.places = torch.tensor(self.kept)
        self.targets = torch.tensor(targets)[self.places]
        self.size = size
        self.split = split

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Batch:
        return self.images[self.places[index]], self.targets[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        """A whole batch at once, which is what a DataLoader asks for; ~k is image k mirrored."""
        drawn = torch.tensor(indices)
        mirrored = drawn < 0
        numbers = torch.where(mirrored, ~drawn, drawn)
        images = self.images[self.places[numbers]]
        if mirrored.any():
            images[mirrored] = images[mirrored].flip(-1)
        return images, self.targets[numbers]

    @staticmethod
    def collate(batch: Batch) -> Batch:
        """A batch is already whole."""
        return batch

    def mask(self, index: int) -> Tensor:
        """Where the object is in an image, bool (size, size).

        Raises:
            UserError: the source does not know.
        """
        if self.split.read_mask is None:
            raise UserError("this data has no masks of its objects.")
        return self.split.read_mask(self.kept[index], self.size)


class StreamingDataset(Dataset):
    """A split read from its files at every epoch, for sets larger than memory."""

    def __init__(self, split: Split, targets: Sequence[int], size: int) -> None:
        self.split = split
        self.targets = torch.tensor(targets)
        self.size = size
        # Shared, so that what reader processes find is known here.
        self.failed = torch.zeros(len(split), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | None:
        if index < 0:  # ~k is image k mirrored
            item = self[~index]
            return None if item is None else (item[0].flip(-1), item[1])
        try:
            return self.split.read(index, self.size), self.targets[index]
        except OSError as error:
            if not self.failed[index]:  # told once, not at every epoch
                print(f"left out, unreadable: {error}", file=sys.stderr)
            self.failed[index] = True
            return None

    @property
    def unreadable(self) -> list[int]:
        """Which images could not be read so far."""
        return self.failed.nonzero().flatten().tolist()

    def collate(self, items: list[tuple[Tensor, Tensor] | None]) -> Batch:
        """Stack the items that could be read; none, where none could."""
        read = [item for item in items if item is not None]
        if not read:
            return torch.empty(0, 3, self.size, self.size, dtype=torch.uint8), self.targets[:0]
        images, targets = zip(*read, strict=True)
        return torch.stack(images), torch.stack(targets)


def report_unreadable(split: Split, unreadable: dict[int, str]) -> None:
    """Name the files that were left out; stop if a class has none left.

    Raises:
        UserError: naming the class.
    """
    if not unreadable:
        return
    for _, reason in sorted(unreadable.items())[:10]:
        print(f"left out, unreadable: {reason}", file=sys.stderr)
    print(f"{len(unreadable)} of {len(split)} images could not be read.", file=sys.stderr)
    left = {split.labels[index] for index in range(len(split)) if index not in unreadable}
    lost = sorted(set(split.labels) - left)
    if lost:
        raise UserError(f"class '{lost[0]}' has no readable image.")
