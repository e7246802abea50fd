"""Lightning data module: batches of an image source, held in memory if the images fit."""

from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vision_attn.core.errors import UserError
from vision_attn.data.allowed_settings import check_counts, check_fractions
from vision_attn.data.augmentation import Augmentations, default_augmentation
from vision_attn.data.choose_gray_range import given_range, read_alike
from vision_attn.data.class_balance import STRONG, balanced_weights, describe_balance, imbalance
from vision_attn.data.dataset import Batch, InMemoryDataset, StreamingDataset, fits_in_memory
from vision_attn.data.default_sizes import default_batch_size, default_image_size
from vision_attn.data.grouped_split import grouped_split
from vision_attn.data.groups import UNUSED, groups_of
from vision_attn.data.io.cache import load_or_decode
from vision_attn.data.io.decode import in_memory
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.loader import scoring_loader, training_loader
from vision_attn.data.sampler import ALL, EpochSampler, Share
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.split import Split, joined
from vision_attn.data.splits import check_divisible, with_known_labels

MAX_LISTED = 3  # files named in an error message


class ImageDataModule(pl.LightningDataModule):
    """Data loaders of an image source: uint8 batches, turned into floats in [0, 1] on the device.

    Args:
        source: where images come from; on the command line `--data NAME_OR_FOLDER`.
        batch_size: images per step; None chooses by image size and number of training images.
        image_size: images are resized to this many pixels per side; None chooses by their size.
        val_fraction: fraction of every class held out for validation if the source has no
            validation split (and as much again for testing, if it has neither). None holds out a
            tenth, but of a small class up to a fifth, in order to reach ten images.
        hold_out_test: cut a test split, too, if the source has neither validation nor test images.
        group: which images are related and stay on one side when a split is cut: the name of a
            column of the table, `folder` (the images of a subfolder), `shots` (taken within a
            minute, or numbered in a row), or a regular expression for file names, whose first group
            names the group. None finds near duplicates; `none` takes every image by itself.
        gray_range: which values are black and white in grayscale images of more than 8 bits:
            [black, white]; None chooses by the training images.
        class_names: class names in the order of the logits; None takes the source's. Labels are
            mapped by name, so a split that lacks a class does not shift the indices of the others.
        flip: flip training images left to right: `true` flips a random half of them, `alternate`
            flips each of them in every other epoch.
        shift: maximum shift of training images, as a fraction of the side; None chooses by size.
        zoom: maximum enlargement of training images, as a factor; None chooses by size.
        color_jitter: maximum change of brightness and contrast of training images, as a fraction;
            None chooses by size.
        augmentations: further augmentations of training images, separated by commas:
            `rand_augment`, `trivial_augment`, `random_erasing`, `mixup`, `cutmix`.
        balanced_sampling: draw all classes equally often in training; None does so if the largest
            class has at least 5 times as many images as the smallest.
        seed: the seed of the splits that are cut here.
        num_workers: worker processes that read images if they do not fit into memory.
        memory_limit: maximum bytes per split that are held in memory.
        max_unreadable: maximum fraction of images that cannot be read; they are listed and left
            out.
        cache: a folder for decoded images. Later trainings map them into memory, even if they
            would not fit; several processes can share it, and changed files are decoded again.

    Raises:
        UserError: a setting is out of its range, or too many files cannot be read.
    """

    def __init__(
        self,
        source: ImageSource,
        batch_size: int | None = None,
        image_size: int | None = None,
        val_fraction: float | None = None,
        hold_out_test: bool = True,
        group: str | None = None,
        gray_range: list[float] | None = None,
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
        check_fractions(val_fraction, max_unreadable)
        check_counts(batch_size=batch_size, image_size=image_size, num_workers=num_workers)
        self.source = source
        self.given_batch_size = batch_size
        self.image_size = image_size or default_image_size(
            source.natural_size, torch.accelerator.is_available()
        )
        self.val_fraction = val_fraction
        self.hold_out_test, self.group = hold_out_test, group
        self.gray_range = given_range(gray_range)
        self.gray_line = ""  # a line on the range, if it was chosen
        self.related = ""  # a line on related images, once splits are cut
        self.group_of: dict[str, int] = {}  # of the images that splits were cut from, by name
        self.class_names = list(class_names or source.class_names)
        self.num_classes = len(self.class_names)
        self.seed = seed
        self.order_seed = torch.initial_seed()  # the run's seed; `seed` is for the splits only
        # Set by a resumed run: workers load their first images before Lightning sets the epoch.
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
        self.cut: tuple[str, ...] = ()  # splits that were cut from the training images
        self._splits: dict[str, Split] | None = None

    @property
    def batch_size(self) -> int:
        """Images per step."""
        if self.given_batch_size is not None:
            return self.given_batch_size
        return default_batch_size(self.image_size, len(self.splits.get("train", ())))

    @property
    def balanced_sampling(self) -> bool:
        """Whether all classes are drawn equally often in training."""
        if self.given_balance is not None:
            return self.given_balance
        return "train" in self.splits and imbalance(self.splits["train"].labels) >= STRONG

    @property
    def monitored(self) -> str:
        """The monitored metric: the validation score that the best weights are selected by.

        With balanced sampling it is balanced accuracy, where rare classes count as much as others.
        """
        return "val/balanced_accuracy" if self.balanced_sampling else "val/accuracy"

    @property
    def splits(self) -> dict[str, Split]:
        """The train, val and test splits; missing ones are cut from the training images."""
        if self._splits is None:
            found = self.known(self.source.splits())
            found, self.gray_range, self.gray_line = read_alike(found, self.gray_range)
            self._splits = self.add_missing_splits(found)
        return self._splits

    def known(self, splits: dict[str, Split]) -> dict[str, Split]:
        """The splits with labels that are all among the classes; see `with_known_labels`."""
        return {
            name: with_known_labels(split, name, self.class_names) for name, split in splits.items()
        }

    def regroup(self, splits: dict[str, Split]) -> None:
        """Replace the splits, for example with those that a run recorded.

        Raises:
            UserError: they have an unknown class.
        """
        splits = self.known(splits)
        self._splits, self.gray_range, self.gray_line = read_alike(splits, self.gray_range)

    def add_missing_splits(self, found: dict[str, Split]) -> dict[str, Split]:
        """Cut a validation split from the training images, and a test split if both are missing."""
        splits = dict(found)
        if "train" not in found or "val" in found:
            self.related = UNUSED if self.group else ""
            return splits
        wanted = ("val", "test") if self.hold_out_test else ("val",)
        self.cut = tuple(name for name in wanted if name not in found)
        check_divisible(found["train"])
        groups, self.related, _ = groups_of(
            found["train"], self.group, self.source.column, len(self.cut) + 1
        )
        self.group_of = dict(zip(found["train"].names, groups, strict=True))
        for offset, name in enumerate(self.cut):
            train = splits["train"]
            check_divisible(train)
            rest, held_out = grouped_split(
                train.labels, groups, self.val_fraction, self.seed + offset
            )
            splits |= {"train": train.take(rest), name: train.take(held_out)}
            groups = [groups[index] for index in rest.tolist()]
        return splits

    def join_validation(self) -> None:
        """Train on the validation images, too, if they were cut from the training images.

        The other splits stay the same. Call it before images are read.
        """
        splits = dict(self.splits)
        if "val" in self.cut:
            splits["train"] = joined(splits["train"], splits.pop("val"))
            self._splits = splits

    def split(self, name: str) -> Split:
        """The split of this name.

        Raises:
            UserError: there is no such split.
        """
        if name not in self.splits:
            existing = ", ".join(self.splits) or "none that are split"
            raise UserError(f"this data has no {name} images (it has: {existing}).")
        return self.splits[name]

    def store(self, name: str) -> InMemoryDataset | StreamingDataset:
        """The data set of a split; the first call reads its images into memory if they fit.

        Raises:
            UserError: there is no such split, a class has no readable image, or too many files
                cannot be read.
        """
        if name not in self.stores:
            self.stores[name] = self.open_split(self.split(name), f"reading {name}")
            self.check_unreadable()
        return self.stores[name]

    def open_split(self, split: Split, title: str) -> InMemoryDataset | StreamingDataset:
        """The images of a split, from the cache or in memory if they fit, else streamed."""
        size = self.image_size
        targets = [self.class_names.index(label) for label in split.labels]
        if self.cache is not None and split.are_files:
            decoded = load_or_decode(self.cache, split, size, title)
            return InMemoryDataset(split, targets, size, decoded)
        if fits_in_memory(len(split), size, self.memory_limit):
            return InMemoryDataset(split, targets, size, in_memory(split, size, title))
        return StreamingDataset(split, targets, size)

    def check_unreadable(self) -> None:
        """Stop if too many files cannot be read.

        Raises:
            UserError: more than `max_unreadable` of all images; it names some of them.
        """
        bad = [
            store.split.names[index] for store in self.stores.values() for index in store.unreadable
        ]
        total = sum(len(split) for split in self.splits.values())
        if len(bad) > self.max_unreadable * total:
            more = f" and {len(bad) - MAX_LISTED} more" if len(bad) > MAX_LISTED else ""
            listed = ", ".join(bad[:MAX_LISTED]) + more
            raise UserError(
                f"{len(bad)} of {total} images cannot be read: {listed}.\n"
                "Repair or remove them, or allow a larger fraction of such files "
                f"(now: --data.max_unreadable {self.max_unreadable:g})."
            )

    def setup(self, stage: str) -> None:
        """Read the images that a stage ("fit", "validate" or "test") needs."""
        needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for name in needed.get(stage, ()):
            if name in self.splits or name not in self.cut:  # else it was joined to the others
                self.store(name)

    def sample(self, count: int = 5000) -> Tensor:
        """A random sample of up to `count` training images, (B, 3, H, W) in [0, 1], seeded."""
        store = self.store("train")
        order = torch.randperm(len(store), generator=torch.Generator().manual_seed(self.seed))
        items = [store[index] for index in order[:count].tolist()]
        return to_unit_range(torch.stack([item[0] for item in items if item is not None]))

    @property
    def share(self) -> Share:
        """The share of the images that this process trains on and scores."""
        if self.trainer is None:
            return ALL
        return Share(self.trainer.global_rank, self.trainer.world_size)

    def loader(self, name: str, shuffle: bool, share: Share = ALL) -> DataLoader:
        """The data loader of one split, or of a process's share of it."""
        store = self.store(name)
        if not shuffle:
            return scoring_loader(store, self.batch_size, share, self.num_workers)
        weights = balanced_weights(store.targets) if self.balanced_sampling else None
        order = EpochSampler(len(store), self.order_seed, weights, self.alternate, share)
        order.set_epoch(self.first_epoch)
        return training_loader(store, self.batch_size, order, self.num_workers)

    def train_dataloader(self) -> DataLoader:
        """Shuffled training batches."""
        return self.loader("train", True, self.share)

    def val_dataloader(self) -> DataLoader:
        """Validation batches in a fixed order."""
        return self.loader("val", False, self.share)

    def test_dataloader(self) -> DataLoader:
        """Test batches in a fixed order."""
        return self.loader("test", False, self.share)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Stop in the main process if streaming has found too many unreadable files.

        Raises:
            UserError: too many files cannot be read, or a training batch has no readable image.
        """
        if any(isinstance(store, StreamingDataset) for store in self.stores.values()):
            self.check_unreadable()
            if not len(batch[1]) and self.trainer is not None and self.trainer.training:
                raise UserError(
                    "no image of a training batch can be read; the files are listed above."
                )
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """On the device: convert uint8 to floats in [0, 1], and augment training images."""
        images, targets = batch
        images = to_unit_range(images)
        if self.trainer is not None and self.trainer.training:
            return self.augmentations(self.augment(images), targets)
        return images, targets

    def resolved_settings(self) -> dict[str, Any]:
        """The values of the settings that may have been chosen automatically."""
        return {
            "image_size": self.image_size,
            "batch_size": self.batch_size,
            "balanced_sampling": self.balanced_sampling,
            "gray_range": None if self.gray_range is None else list(self.gray_range),
        }

    def describe_balance(self) -> str:
        """One line on class imbalance in training; empty if there is none."""
        return describe_balance(self.splits["train"].labels, self.balanced_sampling)

    def describe(self) -> str:
        """One line for the user: number of images per split, classes, image size, augmentation."""
        order = sorted(self.splits, key=("train", "val", "test").index)
        counts = ", ".join(f"{len(self.splits[name])} {name}" for name in order)
        size = f"{self.image_size}x{self.image_size}"
        named = f", {self.augmentations}" if self.augmentations.names else ""
        flips = ", flipped in every other epoch" if self.alternate else ""
        return (
            f"{counts} images of {self.num_classes} classes at {size}; {self.augment}{flips}{named}"
        )
