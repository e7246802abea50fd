"""Features of the frozen backbone: those of the model, for every image and view."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from tests.conftest import write_images
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.training.probe import features as module
from vision_attn.training.probe.features import Features, compute_features


def data_of(root: Path, **settings: object) -> ImageDataModule:
    settings = {"image_size": 64, "batch_size": 5} | settings
    return ImageDataModule(ImageFolder(str(root)), **settings)  # type: ignore[arg-type]


def computed(model: AttentionClassifier, data: ImageDataModule, folder: Path) -> Features:
    return compute_features(model, data, folder, nullcontext)


@pytest.fixture
def model(tiny_model: Callable[..., AttentionClassifier]) -> AttentionClassifier:
    return tiny_model()


class TestComputeFeatures:
    def test_every_image_as_it_is_and_flipped(
        self, model: AttentionClassifier, image_root: Path, tmp_path: Path
    ) -> None:
        data = data_of(image_root)
        found = computed(model, data, tmp_path)
        store = data.store("train")
        assert found.views == 2
        assert len(found) == len(store) > module.BATCH
        for index in (0, 7, len(store) - 1):
            image, target = store[index]
            assert found.targets[index] == target
            for view in (0, 1):
                shown = to_unit_range(image[None].flip(-1) if view else image[None])
                (expected,) = model.features(shown)
                (batch,) = found.batch(view, torch.tensor([index]))
                torch.testing.assert_close(batch, expected, rtol=1e-2, atol=1e-2)

    def test_views_with_deleted_cells_come_after_the_others_and_follow_the_seed(
        self, model: AttentionClassifier, image_root: Path, tmp_path: Path
    ) -> None:
        data, state = data_of(image_root), torch.get_rng_state()
        plain = computed(model, data, tmp_path)
        first, again, other = (
            compute_features(model, data, tmp_path, nullcontext, max_deleted_cells=8, seed=seed)
            for seed in (3, 3, 4)
        )
        assert torch.equal(torch.get_rng_state(), state)
        assert first.views == 2 * plain.views
        assert torch.equal(first.maps[0][:2], plain.maps[0])
        assert torch.equal(first.maps[0], again.maps[0])
        assert not torch.equal(first.maps[0][2:], other.maps[0][2:])
        changed = (first.maps[0][2] != plain.maps[0][0]).flatten(1).any(1)
        assert 0.5 < changed.float().mean() < 1  # one in nine images has no deleted cell

    def test_the_model_stays_as_it_is(
        self, model: AttentionClassifier, image_root: Path, tmp_path: Path
    ) -> None:
        model.train()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        computed(model, data_of(image_root), tmp_path)
        assert model.training
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_images_that_must_not_be_flipped(
        self, model: AttentionClassifier, image_root: Path, tmp_path: Path
    ) -> None:
        assert computed(model, data_of(image_root, flip=False), tmp_path).views == 1

    def test_more_than_fit_into_memory(
        self,
        model: AttentionClassifier,
        image_root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """They are the same, and the file is gone as soon as nobody uses it."""
        data = data_of(image_root)
        expected = computed(model, data, tmp_path)
        monkeypatch.setattr(module, "MEMORY_LIMIT", 1000)
        found = computed(model, data, tmp_path / "new")
        assert torch.equal(found.maps[0], expected.maps[0])
        assert list((tmp_path / "new").iterdir()) == []

    def test_streamed_images_of_which_one_is_damaged(
        self, model: AttentionClassifier, image_root: Path, tmp_path: Path
    ) -> None:
        readable = data_of(image_root)
        expected = computed(model, readable, tmp_path)
        Path(readable.splits["train"].names[3]).write_bytes(b"no image")
        data = data_of(image_root, memory_limit=0, num_workers=1)
        found = computed(model, data, tmp_path)
        kept = [index for index in range(len(expected)) if index != 3]
        assert torch.equal(found.targets, expected.targets[kept])
        torch.testing.assert_close(found.maps[0], expected.maps[0][:, kept], rtol=1e-2, atol=1e-2)

    def test_at_most_so_many(
        self,
        model: AttentionClassifier,
        image_root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Evenly spaced over the classes."""
        write_images(image_root / "train" / "red", 20, 0)
        monkeypatch.setattr(module, "MOST_IMAGES", 8)
        found = computed(model, data_of(image_root), tmp_path)
        assert found.targets.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
