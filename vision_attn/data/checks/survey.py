"""The input of the checks: the images of a data set, their statistics, and ignored files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vision_attn.data.checks.file_hash import groups_of_copies
from vision_attn.data.checks.image_stats import ImageStats


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image file with its split and label."""

    path: str
    split: str
    label: str


@dataclass(frozen=True)
class Layout:
    """Paths in the folders of a data set that are not training images.

    Attributes:
        stray: images outside the class folders, which are not read.
        hidden: hidden files and folders.
        foreign: files in or above class folders without an image extension.
        unread: folders beside the split folders, which are not read.
        empty: class folders without images.
        mask_folders: folders that look like masks of the other images, but are read as a class.
        linked: folders inside class folders that are symbolic links, which are not entered.
        ours: folders that this program wrote, such as runs.
        unclear: folders of images beside `train`, which may be a class or the training images.
        inner: the subfolder that was checked instead of the given folder, or None.
        guessed_truth: the folder beside the splits that is taken for masks of the objects, or None.
    """

    stray: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    mask_folders: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    inner: str | None = None
    guessed_truth: str | None = None


@dataclass(frozen=True)
class Survey:
    """All that is known about a data set before the checks run.

    Attributes:
        root: the folder that names in messages are relative to.
        images: every image.
        stats: statistics of each image, in the same order; empty if no image was read.
        layout: files and folders that are not training images.
        truth: ground truth of the objects: a list of boxes or a folder of masks, or None.
        hash_limit: bytes that may be read to find duplicates; None for no limit.
        gray: a line on which values are black and white in grayscale of more than 8 bits.
    """

    root: Path
    images: Sequence[ImageRecord]
    stats: Sequence[ImageStats] = ()
    layout: Layout = field(default_factory=Layout)
    truth: Path | None = None
    hash_limit: int | None = None
    gray: str = ""

    @cached_property
    def counts(self) -> dict[str, Counter[str]]:
        """Number of images per class, per split."""
        found: dict[str, Counter[str]] = {}
        for image in self.images:
            found.setdefault(image.split, Counter())[image.label] += 1
        return found

    @cached_property
    def copies(self) -> list[list[int]]:
        """Indices of exact duplicates, in groups of two or more."""
        return groups_of_copies([image.path for image in self.images], self.hash_limit)

    def name(self, index: int) -> str:
        """The name of an image in messages: its path relative to the root."""
        return self.short(self.images[index].path)

    def short(self, path: str) -> str:
        """A path relative to the root; unchanged if it is elsewhere."""
        return path.removeprefix(f"{self.root}/")

    def what_differs(self, group: Sequence[int]) -> str:
        """What differs within a group of duplicates: "class", "split", or "" if neither."""
        if len({self.images[index].label for index in group}) > 1:
            return "class"
        return "split" if len({self.images[index].split for index in group}) > 1 else ""
