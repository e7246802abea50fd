"""Turns an image source into batches, read into memory once where they fit."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vision_attn.core.errors import UserError
from vision_attn.data.augmentation import Augmentations, default_augmentation
from vision_attn.data.class_balance import STRONG, balancing, imbalance
from vision_attn.data.dataset import Batch, InMemoryDataset, StreamingDataset, fits_in_memory
from vision_attn.data.io.cache import cached
from vision_attn.data.io.decode import in_memory
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.sampler import EpochSampler
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.split import Split
from vision_attn.data.splits import check_divisible, check_labels, stratified_halves

NAMED = 3  # files in a message
RANGES = {"batch_size": (1, 2**20), "image_size": (1, 4096), "num_workers": (0, 256)}
"""Beyond these a setting is a slip, or a stranger's; no model of larger images can be loaded."""


class ImageDataModule(pl.LightningDataModule):
    """Batches of one image source: uint8 images on the way to the device, floats in [0, 1] there.

    Args:
        source: where images come from; on the command line `--data NAME_OR_FOLDER`.
        batch_size: images a step; None suits the size and the number of training images.
        image_size: pixels a side that images are brought to; None takes it from the images.
        val_fraction: the share of every class kept for validation where the source has no
            validation split of its own (and as much again for testing, where it has neither);
            None takes a tenth, and up to a fifth of a class that would keep fewer than ten images.
        class_names: the classes in the order of the logits; None takes the source's. Labels are
            mapped by name, so a split that lacks a class keeps the others in their places.
        flip: whether training images may be mirrored left to right: half of them at random or,
            with `alternate`, each of them in every other epoch.
        shift: training images move by up to this share of their side; None suits the size.
        zoom: training images are enlarged by up to this factor; None suits the size.
        color_jitter: training images vary in brightness and contrast by up to this share; None suits the
            size.
        augmentations: further changes to training images, separated by commas: `rand_augment`,
            `trivial_augment`, `random_erasing`, `mixup`, `cutmix`.
        balanced_sampling: whether every class is drawn equally often in training; None does so where the
            largest has at least 5 times as many images as the smallest.
        seed: decides the splits that are cut here.
        num_workers: reader processes, for a source that does not fit into memory.
        memory_limit: read all images into memory up to this many bytes a split.
        max_unreadable: the share of all images that may be damaged; they are named and left out.
        cache: a folder for decoded images, which later trainings map into memory, also where they
            would not fit; several may use it at once, and a changed file is read anew.

    Raises:
        UserError: a setting is out of its range, or too many files cannot be read.
    """

    def __init__(
        self,
        source: ImageSource,
        batch_size: int | None = None,
        image_size: int | None = None,
        val_fraction: float | None = None,
        class_names: list[str] | None = None,
        flip: bool | Literal["alternate"] = True,
        shift: float | None = None,
        zoom: float | None = None,
        color_jitter: float | None = None,
        augmentations: str = "",
        balanced_sampling: bool | None = None,
        seed: int = 0,
        num_workers: int = 2,
        memory_limit: int = 4 * 2**30,
        max_unreadable: float = 0.05,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        if val_fraction is not None and not 0 < val_fraction < 0.5:
            raise UserError(f"--data.val_fraction lies between 0 and 0.5, not {val_fraction}.")
        if not 0 <= max_unreadable <= 1:
            raise UserError(f"--data.max_unreadable lies between 0 and 1, not {max_unreadable}.")
        given = {"batch_size": batch_size, "image_size": image_size, "num_workers": num_workers}
        for name, value in given.items():
            least, most = RANGES[name]
            if value is not None and not least <= value <= most:
                raise UserError(f"--data.{name} lies between {least} and {most}, not {value}.")
        self.source = source
        self.given_batch_size = batch_size
        self.image_size = image_size or suggested_size(
            source.natural_size, torch.accelerator.is_available()
        )
        self.val_fraction = val_fraction
        self.class_names = list(class_names or source.class_names)
        self.num_classes = len(self.class_names)
        self.seed = seed
        self.order_seed = torch.initial_seed()  # of the run; `seed` decides the splits alone
        # A run that goes on sets it: readers fetch their first images before Lightning tells it.
        self.first_epoch = 0
        self.num_workers = num_workers
        self.memory_limit = memory_limit
        self.max_unreadable = max_unreadable
        self.cache = Path(cache).expanduser() if cache else None
        self.augment = default_augmentation(
            self.image_size, flip is True, shift, zoom, color_jitter
        )
        self.augmentations = Augmentations(augmentations, self.num_classes)
        self.alternate = flip == "alternate"
        self.given_balance = balanced_sampling
        self.stores: dict[str, InMemoryDataset | StreamingDataset] = {}
        self._splits: dict[str, Split] | None = None

    @property
    def batch_size(self) -> int:
        """Images a step."""
        if self.given_batch_size is not None:
            return self.given_batch_size
        return suggested_batch(self.image_size, len(self.splits.get("train", ())))

    @property
    def balanced_sampling(self) -> bool:
        """Whether every class is drawn equally often in training."""
        if self.given_balance is not None:
            return self.given_balance
        return "train" in self.splits and imbalance(self.splits["train"].labels) >= STRONG

    @property
    def monitored(self) -> str:
        """The validation score by which the best weights are chosen.

        Where rare classes are to count as much as others, accuracy would forget them again.
        """
        return "val/balanced_accuracy" if self.balanced_sampling else "val/accuracy"

    @property
    def splits(self) -> dict[str, Split]:
        """The source's splits, with those that it lacks cut from its training images."""
        if self._splits is None:
            found = self.source.splits()
            for name, split in found.items():
                check_labels(split, name, self.class_names)
            self._splits = self.with_missing_splits(found)
        return self._splits

    def regroup(self, splits: dict[str, Split]) -> None:
        """Take these for the splits, in the place of those that would be cut here.

        Raises:
            UserError: they have a class that is not known.
        """
        for name, split in splits.items():
            check_labels(split, name, self.class_names)
        self._splits = splits

    def with_missing_splits(self, found: dict[str, Split]) -> dict[str, Split]:
        """Cut a validation split from the training images, and a test split if both lack."""
        splits = dict(found)
        missing = [name for name in ("val", "test") if name not in found]
        if "train" not in found or "val" in found:
            return splits
        for offset, name in enumerate(missing):
            train = splits["train"]
            check_divisible(train)
            rest, sample = stratified_halves(train.labels, self.val_fraction, self.seed + offset)
            splits |= {"train": train.take(rest), name: train.take(sample)}
        return splits

    def split(self, name: str) -> Split:
        """One of the splits.

        Raises:
            UserError: there is no such split.
        """
        if name not in self.splits:
            has = ", ".join(self.splits)
            raise UserError(f"this data has no {name} images (it has: {has}).")
        return self.splits[name]

    def store(self, name: str) -> InMemoryDataset | StreamingDataset:
        """The images of a split, read into memory at the first call if they fit.

        Raises:
            UserError: there is no such split, a class has no readable image, or too many files
                cannot be read.
        """
        if name not in self.stores:
            self.stores[name] = self.opened(self.split(name), f"reading {name}")
            self.check_unreadable()
        return self.stores[name]

    def opened(self, split: Split, title: str) -> InMemoryDataset | StreamingDataset:
        """A split read into memory or mapped from the cache; one too large for both is streamed."""
        size = self.image_size
        targets = [self.class_names.index(label) for label in split.labels]
        if self.cache is not None and split.are_files:
            return InMemoryDataset(split, targets, size, cached(self.cache, split, size, title))
        if fits_in_memory(len(split), size, self.memory_limit):
            return InMemoryDataset(split, targets, size, in_memory(split, size, title))
        return StreamingDataset(split, targets, size)

    def check_unreadable(self) -> None:
        """Stop where more files cannot be read than may be.

        Raises:
            UserError: naming some of them, and what to do.
        """
        bad = [
            store.split.names[index] for store in self.stores.values() for index in store.unreadable
        ]
        total = sum(len(split) for split in self.splits.values())
        if len(bad) > self.max_unreadable * total:
            more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
            raise UserError(
                f"{len(bad)} of {total} images cannot be read: {', '.join(bad[:NAMED])}{more}.\n"
                "Mend or remove them, or allow a larger share of such files "
                f"(--data.max_unreadable {self.max_unreadable:g})."
            )

    def setup(self, stage: str) -> None:
        """Read what the stage needs."""
        needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for name in needed.get(stage, ()):
            self.store(name)

    def sample(self, count: int = 5000) -> Tensor:
        """Up to so many training images (B, 3, H, W) in [0, 1], drawn with the data's seed."""
        store = self.store("train")
        drawn = torch.randperm(len(store), generator=torch.Generator().manual_seed(self.seed))
        found = [store[index] for index in drawn[:count].tolist()]
        return to_unit_range(torch.stack([item[0] for item in found if item is not None]))

    def loader(self, name: str, shuffle: bool) -> DataLoader:
        """Batches of one split."""
        store = self.store(name)
        streamed = isinstance(store, StreamingDataset)
        weights = balancing(store.targets) if shuffle and self.balanced_sampling else None
        order = EpochSampler(len(store), self.order_seed, weights, self.alternate)
        order.set_epoch(self.first_epoch)
        return DataLoader(
            store,
            batch_size=self.batch_size,
            sampler=order if shuffle else None,
            generator=torch.Generator(),  # its own: making a loader draws from no other's numbers
            # A last training batch of one image would break batch norm.
            drop_last=shuffle and len(store) > self.batch_size,
            collate_fn=cast(Any, store.collate),  # InMemory hands out whole batches
            num_workers=self.num_workers if streamed else 0,
            # Splits hold closures, which a forked worker takes over and another cannot.
            multiprocessing_context="fork" if streamed and self.num_workers > 0 else None,
            persistent_workers=streamed and self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def train_dataloader(self) -> DataLoader:
        """Shuffled training batches."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Validation batches in order."""
        return self.loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader:
        """Test batches in order."""
        return self.loader("test", shuffle=False)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """In the process that trains: stop where reading batch by batch has met too many faults.

        Raises:
            UserError: too many files cannot be read, or none of a whole training batch.
        """
        if any(isinstance(store, StreamingDataset) for store in self.stores.values()):
            self.check_unreadable()
            if not len(batch[1]) and self.trainer is not None and self.trainer.training:
                raise UserError("a whole batch of images cannot be read; see above.")
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """On the device: bytes to floats in [0, 1], and augmentation while training."""
        images, targets = batch
        images = to_unit_range(images)
        if self.trainer is not None and self.trainer.training:
            return self.augmentations(self.augment(images), targets)
        return images, targets

    def resolved_settings(self) -> dict[str, Any]:
        """The settings that may have been chosen automatically, with their values."""
        return {
            "image_size": self.image_size,
            "batch_size": self.batch_size,
            "balanced_sampling": self.balanced_sampling,
        }

    def describe_balance(self) -> str:
        """One line on training classes of unequal size, or nothing."""
        return described(self.splits["train"].labels, self.balanced_sampling)

    def describe(self) -> str:
        """One line for the user: sizes of the splits, classes, image size, augmentation."""
        counts = ", ".join(f"{len(split)} {name}" for name, split in self.splits.items())
        size = f"{self.image_size}x{self.image_size}"
        further = f", {self.augmentations}" if self.augmentations.names else ""
        flips = ", mirrored in every other epoch" if self.alternate else ""
        changes = f"{self.augment}{flips}{further}"
        return f"{counts} images of {self.num_classes} classes at {size}; {changes}"


def described(labels: Sequence[str], balanced_sampling: bool) -> str:
    """One line on classes of unequal size, or nothing.

    >>> described(["a"] * 30 + ["b"] * 3, balanced_sampling=True)
    'classes of 3 to 30 images (10:1): each drawn equally often, best weights by balanced accuracy'
    >>> described(["a", "b"], balanced_sampling=False)
    ''
    """
    times = imbalance(labels)
    if not balanced_sampling and times < STRONG:
        return ""
    counts = Counter(labels).values()
    equally = "each drawn equally often, best weights by balanced accuracy"
    how = equally if balanced_sampling else "drawn as they are"
    return f"classes of {min(counts)} to {max(counts)} images ({times:.0f}:1): {how}"


def suggested_batch(image_size: int, images: int) -> int:
    """128 small images or fewer larger ones, and at least 32 steps an epoch where that can be.

    >>> suggested_batch(32, 50_000), suggested_batch(224, 50_000), suggested_batch(96, 800)
    (128, 32, 25)
    """
    usual = 128 if image_size <= 64 else 64 if image_size <= 128 else 32
    return min(usual, max(images // 32, 8)) if images else usual


def suggested_size(natural_size: int, accelerated: bool) -> int:
    """A size to train at: a multiple of 32 near the images' own, from 32 pixels to 224.

    Without a GPU it ends at 128: an image of 224 pixels costs three times as much, and so would
    be seen a third as often.

    >>> [suggested_size(pixels, accelerated=True) for pixels in (28, 64, 100, 500)]
    [32, 64, 96, 224]
    >>> suggested_size(500, accelerated=False)
    128
    """
    return min(max(round(natural_size / 32) * 32, 32), 224 if accelerated else 128)
