"""What checks look at: the images of a data set, what was read of each, and what lies beside."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vision_attn.data.checks.file_hash import groups_of_copies
from vision_attn.data.checks.image_stats import ImageStats


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image file, as its folder or table lists it."""

    path: str
    split: str
    label: str


@dataclass(frozen=True)
class Layout:
    """What lies in the folders of a data set beside its images, as paths.

    Attributes:
        stray: images outside the class folders, which nothing reads.
        hidden: hidden files and folders.
        foreign: files in or above class folders that are no images by their ending.
        unread: folders beside the split folders.
        empty: class folders without an image.
        mask_folders: folders that look like masks of the others' images, but are read as a class.
        inner: the folder that was checked in the place of the one named, if it was.
    """

    stray: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    mask_folders: list[str] = field(default_factory=list)
    inner: str | None = None


@dataclass(frozen=True)
class Survey:
    """All that is known of a data set.

    Attributes:
        root: the folder that names in messages start from.
        images: every image.
        readings: what was learnt of each image, in the same order; empty if none was read.
        layout: what lies beside the images.
        truth: a list of boxes or a folder of masks, if there is one.
        hash_limit: bytes of files that may be read to find copies; None for no limit.
    """

    root: Path
    images: Sequence[ImageRecord]
    stats: Sequence[ImageStats] = ()
    layout: Layout = field(default_factory=Layout)
    truth: Path | None = None
    hash_limit: int | None = None

    @cached_property
    def counts(self) -> dict[str, Counter[str]]:
        """Images by class, by split."""
        found: dict[str, Counter[str]] = {}
        for image in self.images:
            found.setdefault(image.split, Counter())[image.label] += 1
        return found

    @cached_property
    def copies(self) -> list[list[int]]:
        """Indices of images that are the same, byte for byte; in groups of two and more."""
        return groups_of_copies([image.path for image in self.images], self.hash_limit)

    def name(self, index: int) -> str:
        """What to call an image: its path below the root."""
        return self.short(self.images[index].path)

    def short(self, path: str) -> str:
        """A path below the root, or as it is."""
        return path.removeprefix(f"{self.root}/")

    def apart(self, group: Sequence[int]) -> str:
        """What tells images of a group apart that should not be: "class", "split" or nothing."""
        if len({self.images[index].label for index in group}) > 1:
            return "class"
        return "split" if len({self.images[index].split for index in group}) > 1 else ""
