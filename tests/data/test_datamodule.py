"""Data module and image sources: reading, splitting, and invalid data."""

import hashlib
import io
import pickle
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.conftest import write_images
from vision_attn.core.errors import UserError
from vision_attn.core.registry import available
from vision_attn.data.augmentation import Augment
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.cifar10 import Cifar10
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.data.sources.shapes import Shapes


def test_all_image_sources_are_registered() -> None:
    assert set(available(ImageSource)) == {
        "cifar10",
        "cifar100",
        "image_folder",
        "image_table",
        "metadata_folder",
        "shapes",
    }


class TestShapes:
    def test_an_image_depends_only_on_seed_split_and_index(self) -> None:
        first, again = Shapes().splits(), Shapes().splits()
        assert torch.equal(first["train"].read(7, 64), again["train"].read(7, 64))
        assert not torch.equal(first["train"].read(7, 64), first["test"].read(7, 64))
        assert not torch.equal(first["train"].read(7, 64), first["train"].read(13, 64))
        other = Shapes(seed=1).splits()
        assert not torch.equal(first["train"].read(7, 64), other["train"].read(7, 64))

    def test_classes_are_balanced(self) -> None:
        counts = Counter(Shapes(train=60).splits()["train"].labels)
        assert set(counts.values()) == {10}
        assert list(counts) == Shapes().class_names

    def test_the_mask_covers_the_object(self) -> None:
        """In every image the mean brightness of the object differs from the background's."""
        split = Shapes().splits()["test"]
        for index in range(24):
            image = split.read(index, 64).float().mean(0) / 255
            mask = split.read_mask(index, 64)
            assert 0.01 < mask.float().mean() < 0.3
            assert (image[mask].mean() - image[~mask].mean()).abs() > 0.1

    def test_objects_vary_in_position_and_size(self) -> None:
        split = Shapes().splits()["train"]
        masks = [split.read_mask(index, 64) for index in range(0, 120, 6)]  # circles
        areas = torch.tensor([float(mask.sum()) for mask in masks])
        assert areas.max() > 2 * areas.min()
        centers = torch.stack([mask.nonzero().float().mean(0) for mask in masks])
        assert (centers.amax(0) - centers.amin(0)).min() > 25


def make_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 archive of 4 + 2 images, with matching checksums."""
    folder = Cifar10.dataset.base_folder
    random = np.random.default_rng(0)
    contents = {
        "data_batch_1": {
            "data": random.integers(0, 256, (4, 3072), np.uint8),
            "labels": [0, 1, 9, 3],
        },
        "test_batch": {"data": random.integers(0, 256, (2, 3072), np.uint8), "labels": [3, 5]},
        "batches.meta": {"label_names": Cifar10(str(root)).class_names},
    }
    archive, checksums = root / Cifar10.dataset.filename, {}
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in contents.items():
            payload = pickle.dumps(content)
            checksums[name] = hashlib.md5(payload).hexdigest()
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(payload)
            tar.addfile(entry, io.BytesIO(payload))
    monkeypatch.setattr(
        Cifar10.dataset, "train_list", [["data_batch_1", checksums["data_batch_1"]]]
    )
    monkeypatch.setattr(Cifar10.dataset, "test_list", [["test_batch", checksums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": checksums["batches.meta"]}
    monkeypatch.setattr(Cifar10.dataset, "meta", meta)
    monkeypatch.setattr(Cifar10.dataset, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


class TestCifar10:
    def test_it_reads_an_archive(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make_cifar(tmp_path, monkeypatch)
        splits = Cifar10(str(tmp_path)).splits()
        assert list(splits["train"].labels) == ["airplane", "automobile", "truck", "cat"]
        assert list(splits["test"].labels) == ["cat", "dog"]
        assert splits["train"].read(0, 32).shape == (3, 32, 32)
        assert splits["train"].read(0, 48).shape == (3, 48, 48)

    def test_a_truncated_archive_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = make_cifar(tmp_path, monkeypatch)
        archive.write_bytes(archive.read_bytes()[:-50])
        monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", unreachable)
        with pytest.raises(UserError, match=r"(?s)CIFAR10 .* is damaged; delete it.*root DIR"):
            Cifar10(str(tmp_path)).splits()

    def test_a_missing_archive_without_network_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", unreachable)
        with pytest.raises(UserError, match=r"(?s)is missing.*https://.*cifar-10"):
            Cifar10(str(tmp_path)).splits()


def unreachable(*_: object, **__: object) -> None:
    raise OSError("the network cannot be reached")


class TestImageFolder:
    def test_usual_names_of_split_folders(self, image_root: Path) -> None:
        (image_root / "train").rename(image_root / "Training")
        write_images(image_root / "valid" / "red", 3, 0)
        source = ImageFolder(str(image_root))
        sizes = {name: len(split) for name, split in source.splits().items()}
        assert sizes == {"train": 24, "val": 3, "test": 8}
        assert source.class_names == ["green", "red"]
        assert source.natural_size == 20

    def test_hidden_folders_and_other_files_are_ignored(self, image_root: Path) -> None:
        write_images(image_root / "train" / ".ipynb_checkpoints", 2, 0)
        (image_root / "train" / "red" / "notes.txt").write_text("no image")
        (image_root / "train" / "red" / "._000.png").write_text("no image")
        assert len(ImageFolder(str(image_root)).splits()["train"]) == 24

    def test_a_folder_without_splits_is_split(self, image_root: Path) -> None:
        data = ImageDataModule(ImageFolder(str(image_root / "train")), val_fraction=0.25)
        counts = {name: Counter(split.labels) for name, split in data.splits.items()}
        assert counts["val"] == counts["test"] or counts["val"]["red"] == 3
        assert all(set(count) == {"red", "green"} for count in counts.values())
        names = [name for split in data.splits.values() for name in split.names]
        assert len(names) == len(set(names)) == 24
        again = ImageDataModule(ImageFolder(str(image_root / "train")), val_fraction=0.25)
        assert list(again.splits["val"].names) == list(data.splits["val"].names)
        other = ImageDataModule(ImageFolder(str(image_root / "train")), val_fraction=0.25, seed=5)
        assert list(other.splits["val"].names) != list(data.splits["val"].names)

    def test_labels_are_mapped_by_name(self, image_root: Path) -> None:
        """If a split lacks a class, the indices of the others do not shift."""
        for file in (image_root / "test" / "green").iterdir():
            file.unlink()
        (image_root / "test" / "green").rmdir()
        data = ImageDataModule(ImageFolder(str(image_root)))
        store = data.store("test")
        assert set(store.targets.tolist()) == {data.class_names.index("red")}

    @pytest.mark.parametrize("split", ["val", "test"])
    def test_an_unknown_class_is_refused(self, image_root: Path, split: str) -> None:
        write_images(image_root / split / "gren", 2, 0)
        with pytest.raises(UserError, match=rf"{split} .*'gren'.*Did you mean 'green'"):
            _ = ImageDataModule(ImageFolder(str(image_root))).splits

    def test_a_class_may_be_named_like_a_split(self, tmp_path: Path) -> None:
        for name in ("bus", "car", "test"):
            write_images(tmp_path / name, 3, 0)
        assert ImageFolder(str(tmp_path)).class_names == ["bus", "car", "test"]

    def test_missing_training_images_are_an_error(self, image_root: Path) -> None:
        shutil.rmtree(image_root / "train")
        with pytest.raises(UserError, match="has no train folder"):
            ImageFolder(str(image_root))
        assert set(ImageFolder(str(image_root), default_split="test").splits()) == {"test"}

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="contains no folders"):
            ImageFolder(str(tmp_path))
        (tmp_path / "train").mkdir()
        with pytest.raises(UserError, match="has no class folders"):
            ImageFolder(str(tmp_path))

    def test_a_single_class_is_refused(self, tmp_path: Path) -> None:
        write_images(tmp_path / "train" / "red", 3, 0)
        with pytest.raises(UserError, match=r"only one class \('red'\)"):
            ImageFolder(str(tmp_path))

    def test_a_class_without_a_readable_image_is_refused(self, image_root: Path) -> None:
        blue = image_root / "train" / "blue"
        blue.mkdir()
        with pytest.raises(UserError, match="blue has no readable image"):
            ImageFolder(str(image_root))
        (blue / "a.png").write_bytes(b"no image")
        with pytest.raises(UserError, match="blue has no readable image"):
            ImageFolder(str(image_root))

    def test_a_truncated_image_is_left_out_and_reported(
        self, image_root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken = image_root / "train" / "red" / "000.png"
        broken.write_bytes(broken.read_bytes()[:400])
        store = ImageDataModule(ImageFolder(str(image_root))).store("test")
        assert len(store) == 8
        data = ImageDataModule(ImageFolder(str(image_root)))
        total = len(data.store("train")) + len(data.store("val"))
        assert total == 23
        assert str(broken) in capsys.readouterr().err

    def test_a_class_of_truncated_images_is_refused(self, image_root: Path) -> None:
        for file in (image_root / "test" / "red").iterdir():
            file.write_bytes(file.read_bytes()[:400])
        with pytest.raises(UserError, match="class 'red' has no readable image"):
            ImageDataModule(ImageFolder(str(image_root))).store("test")


class TestImageDataModule:
    def test_streamed_images_equal_those_in_memory(self, image_root: Path) -> None:
        in_memory = ImageDataModule(ImageFolder(str(image_root)), image_size=32, num_workers=0)
        streamed = ImageDataModule(
            ImageFolder(str(image_root)), image_size=32, num_workers=0, memory_limit=0
        )
        expected, found = list(in_memory.test_dataloader()), list(streamed.test_dataloader())
        assert sum(len(targets) for _, targets in expected) == 8
        for one, other in zip(expected, found, strict=True):
            assert_close(one, other)

    def test_a_batch_on_the_device_is_floats_in_0_1(self) -> None:
        data = ImageDataModule(Shapes(train=12, val=6, test=6), image_size=32, batch_size=5)
        images, targets = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        assert images.shape == (5, 3, 32, 32)
        assert images.dtype == torch.float32
        assert 0 <= images.min() < 0.5 < images.max() <= 1
        assert targets.dtype == torch.int64

    def test_a_missing_split_is_an_error(self, tmp_path: Path) -> None:
        for split in ("train", "val"):
            for name in ("a", "b"):
                write_images(tmp_path / split / name, 3, 0)
        with pytest.raises(UserError, match=r"no test images \(it has: train, val\)"):
            ImageDataModule(ImageFolder(str(tmp_path))).store("test")

    def test_a_class_of_one_image_cannot_be_split(self, tmp_path: Path) -> None:
        write_images(tmp_path / "a", 3, 0)
        write_images(tmp_path / "b", 1, 1)
        with pytest.raises(UserError, match="class 'b' has a single image"):
            _ = ImageDataModule(ImageFolder(str(tmp_path))).splits


class TestAugment:
    def test_without_augmentation_it_is_the_identity(self) -> None:
        images = torch.rand(3, 3, 7, 11)
        assert_close(Augment(flip=False, shift=0, zoom=1)(images), images)

    def test_a_shift_copies_pixels(self) -> None:
        """The inner part of every shifted image occurs in the original, at an integer offset."""
        images = torch.rand(16, 3, 12, 20)
        moved = Augment(flip=False, shift=0.2, zoom=1)(images)
        offsets = set()
        for original, changed in zip(images, moved, strict=True):
            found = [
                (dy, dx)
                for dy in range(-2, 3)
                for dx in range(-4, 5)
                if torch.allclose(
                    changed[:, 2:10, 4:16],
                    original[:, 2 + dy : 10 + dy, 4 + dx : 16 + dx],
                    atol=1e-5,
                )
            ]
            assert len(found) == 1
            offsets |= set(found)
        assert len(offsets) > 5

    def test_half_of_the_images_are_flipped(self) -> None:
        images = torch.rand(64, 1, 5, 7)
        changed = Augment(flip=True, shift=0, zoom=1)(images)
        flipped = [
            torch.allclose(c, i.flip(-1), atol=1e-5) for c, i in zip(changed, images, strict=True)
        ]
        same = [torch.allclose(c, i, atol=1e-5) for c, i in zip(changed, images, strict=True)]
        assert all(f != s for f, s in zip(flipped, same, strict=True))
        assert 15 < sum(flipped) < 49

    def test_a_zoomed_image_shows_a_part(self) -> None:
        ramp = torch.linspace(0, 1, 50).view(1, 1, 1, 50).expand(32, 1, 50, 50)
        changed = Augment(flip=False, shift=0, zoom=2)(ramp)
        spans = changed.amax((1, 2, 3)) - changed.amin((1, 2, 3))
        assert 0.45 < spans.min() < 0.6
        assert spans.max() > 0.9


class TestJoinValidation:
    def test_images_cut_for_validation_are_trained_on(self, image_root: Path) -> None:
        """The test images stay those of the same seed, and every image is where its name says."""
        source = ImageFolder(str(image_root / "train"))
        cut, joined = (ImageDataModule(source, val_fraction=0.25, image_size=16) for _ in range(2))
        joined.join_validation()
        assert set(joined.splits) == {"train", "test"}
        assert joined.splits["test"].names == cut.splits["test"].names
        train = joined.splits["train"]
        assert train.names == sorted([*cut.splits["train"].names, *cut.splits["val"].names])
        for index in (0, 7, len(train) - 1):
            (alone,) = [
                part.read(part.names.index(train.names[index]), 16)
                for part in (cut.splits["train"], cut.splits["val"])
                if train.names[index] in part.names
            ]
            assert torch.equal(train.read(index, 16), alone)
            assert train.labels[index] == Path(train.names[index]).parent.name

    def test_a_validation_folder_of_the_user_stays(self, image_root: Path) -> None:
        shutil.copytree(image_root / "test", image_root / "val")
        data = ImageDataModule(ImageFolder(str(image_root)), image_size=16)
        before = {name: list(split.names) for name, split in data.splits.items()}
        data.join_validation()
        assert {name: list(split.names) for name, split in data.splits.items()} == before
