"""PyTorch data sets of a split: images in memory if they fit, else streamed from their files."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.data.io.decode import Decoded
from vision_attn.data.split import Split

Batch = tuple[Tensor, Tensor]
"""Images uint8 (B, 3, size, size) and targets (B,)."""


def fits_in_memory(count: int, size: int, limit: int) -> bool:
    """Whether `count` uint8 images (3, size, size) take at most `limit` bytes.

    >>> fits_in_memory(50_000, 32, limit=4 * 2**30), fits_in_memory(50_000, 224, limit=4 * 2**30)
    (True, False)
    """
    return count * 3 * size * size <= limit


class InMemoryDataset(Dataset):
    """The decoded images of a split, uint8 (N, 3, size, size), returned in whole batches.

    Unreadable files are left out and listed on standard error.
    """

    def __init__(self, split: Split, targets: Sequence[int], size: int, decoded: Decoded) -> None:
        report_unreadable(split, decoded.unreadable)
        self.images = decoded.images
        self.unreadable = sorted(decoded.unreadable)
        self.readable = [k for k in range(len(split)) if k not in decoded.unreadable]
        self.split_indices = torch.tensor(self.readable)
        self.targets = torch.tensor(targets)[self.split_indices]
        self.size = size
        self.split = split

    def __len__(self) -> int:
        return len(self.readable)

    def __getitem__(self, index: int) -> Batch:
        return self.images[self.split_indices[index]], self.targets[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        """A whole batch, as a DataLoader requests it; index ~k is image k flipped left to right."""
        requested = torch.tensor(indices, dtype=torch.long)
        flipped = requested < 0
        positions = torch.where(flipped, ~requested, requested)
        images = self.images[self.split_indices[positions]]
        if flipped.any():
            images[flipped] = images[flipped].flip(-1)
        return images, self.targets[positions]

    @staticmethod
    def collate(batch: Batch) -> Batch:
        """Return the batch unchanged: `__getitems__` has already stacked it."""
        return batch

    def mask(self, index: int) -> Tensor:
        """The mask of the object in an image, bool (size, size).

        Raises:
            UserError: the source has no object masks.
        """
        if self.split.read_mask is None:
            raise UserError("this data has no object masks.")
        return self.split.read_mask(self.readable[index], self.size)


class StreamingDataset(Dataset):
    """A split that is read from its files in every epoch, for data sets larger than memory."""

    def __init__(self, split: Split, targets: Sequence[int], size: int) -> None:
        self.split = split
        self.targets = torch.tensor(targets)
        self.size = size
        # In shared memory, so that this process sees which files the worker processes cannot read.
        self.failed = torch.zeros(len(split), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | None:
        if index < 0:  # ~k is image k flipped left to right
            item = self[~index]
            return None if item is None else (item[0].flip(-1), item[1])
        try:
            return self.split.read(index, self.size), self.targets[index]
        except OSError as error:
            if not self.failed[index]:  # reported once, not in every epoch
                say(f"left out, unreadable: {error}", error=True)
            self.failed[index] = True
            return None

    @property
    def unreadable(self) -> list[int]:
        """Indices of the images that could not be read so far."""
        return self.failed.nonzero().flatten().tolist()

    def collate(self, items: list[tuple[Tensor, Tensor] | None]) -> Batch:
        """Stack the readable items; an empty batch if there are none."""
        read = [item for item in items if item is not None]
        if not read:
            return torch.empty(0, 3, self.size, self.size, dtype=torch.uint8), self.targets[:0]
        images, targets = zip(*read, strict=True)
        return torch.stack(images), torch.stack(targets)


def report_unreadable(split: Split, unreadable: dict[int, str]) -> None:
    """List the unreadable files on standard error; stop if a class has no readable image.

    Raises:
        UserError: naming the class.
    """
    if not unreadable:
        return
    for _, reason in sorted(unreadable.items())[:10]:
        say(f"left out, unreadable: {reason}", error=True)
    say(f"{len(unreadable)} of {len(split)} images could not be read.", error=True)
    remaining = {split.labels[index] for index in range(len(split)) if index not in unreadable}
    lost = sorted(set(split.labels) - remaining)
    if lost:
        raise UserError(f"class '{lost[0]}' has no readable image.")
