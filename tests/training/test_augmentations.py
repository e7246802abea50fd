"""torchvision's augmentations (mixup, CutMix, ...): their targets, and training with them."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml
from torch import Tensor
from torch.testing import assert_close

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.augmentation import BY_IMAGE, Augmentations

B, K = 5, 3
CLASSES = torch.tensor([0, 1, 2, 1, 0])


@pytest.fixture
def gray_images() -> Tensor:
    """Images (B, 3, 7, 11), each of one gray level that identifies the image."""
    return (torch.arange(B) / 10).view(B, 1, 1, 1).expand(B, 3, 7, 11).contiguous()


def previous(image: int) -> int:
    """The number of the image that torchvision mixes into an image: the previous one."""
    return (image - 1) % B


def expected_targets(own: float) -> Tensor:
    """Targets (B, K) in which each image has this share, and the previous image the rest."""
    shares = torch.zeros(B, K)
    for image in range(B):
        shares[image, CLASSES[image]] += own
        shares[image, CLASSES[previous(image)]] += 1 - own
    return shares


def test_mixup_mixes_pixels_and_targets_by_the_same_share(gray_images: Tensor) -> None:
    images, targets = Augmentations("mixup", K)(gray_images, CLASSES)
    own = targets[1, CLASSES[1]].item()
    assert 0 < own < 1
    assert_close(targets, expected_targets(own))
    for image in range(B):
        gray = own * image / 10 + (1 - own) * previous(image) / 10
        assert_close(images[image], torch.full((3, 7, 11), gray))


def test_cutmix_mixes_targets_by_area(gray_images: Tensor) -> None:
    images, targets = Augmentations("cutmix", K)(gray_images, CLASSES)
    for image in range(1, B):
        grays = (images[image] * 10).round()
        assert set(grays.unique().tolist()) <= {float(image), float(previous(image))}
        own = (grays == image).float().mean().item()
        assert_close(targets[image], expected_targets(own)[image])


@pytest.mark.parametrize("name", sorted(BY_IMAGE))
def test_each_image_gets_its_own_random_change(name: str) -> None:
    images = torch.rand(3, 8, 12).expand(12, 3, 8, 12)
    changed, targets = Augmentations(name, K)(images, torch.zeros(12, dtype=torch.int64))
    assert targets.ndim == 1
    assert changed.shape == images.shape
    assert len({image.numpy().tobytes() for image in changed}) > 3


def test_a_misspelled_name_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="there is no 'mixpu'. Did you mean 'mixup'"):
        Augmentations("cutmix, mixpu", K)


class Interrupt(pl.Callback):
    """Simulates Ctrl-C at the start of the second epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_a_resumed_training_equals_an_uninterrupted_one(
    image_root: Path, tmp_path: Path, loss: str
) -> None:
    words = ["fit", "--data", str(image_root), *TINY_RUN, "--overlays", "false"]
    words += ["--data.augmentations", "mixup,cutmix,rand_augment,random_erasing"]
    words += ["--model.absent_evidence_weight", "0.5", "--model.loss", loss]
    words += ["--trainer.max_epochs", "2"]
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    assert main([*words, "--run_dir", str(uninterrupted)]) == 0
    stop = ["--trainer.callbacks+", f"{__name__}.Interrupt"]
    assert main([*words, "--run_dir", str(interrupted), *stop]) == 130
    again = ["fit", "--run_dir", str(interrupted), "--resume", "--trainer.callbacks", "null"]
    again += ["--trust", f"{__name__}.Interrupt", "--report", "false", "--overlays", "false"]
    assert main(again) == 0
    last = [
        torch.load(run / "checkpoints" / "last.ckpt")["state_dict"]
        for run in (uninterrupted, interrupted)
    ]
    assert_close(*last, rtol=0, atol=0)
    stored = yaml.safe_load((uninterrupted / "config.yaml").read_text())
    assert stored["data"]["augmentations"] == "mixup,cutmix,rand_augment,random_erasing"
