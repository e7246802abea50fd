"""torchvision's further augmentations: what they do to targets, and through the real door."""

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
def plain() -> Tensor:
    """Images (B, 3, 7, 11) each of its own grey, so that a pixel tells where it is from."""
    return (torch.arange(B) / 10).view(B, 1, 1, 1).expand(B, 3, 7, 11).contiguous()


def before(image: int) -> int:
    """With which image of a batch torchvision mixes another."""
    return (image - 1) % B


def wanted(own: float) -> Tensor:
    """Shares of classes, where each image has that share and the image before it the rest."""
    shares = torch.zeros(B, K)
    for image in range(B):
        shares[image, CLASSES[image]] += own
        shares[image, CLASSES[before(image)]] += 1 - own
    return shares


def test_mixup_shares_pixels_and_targets_alike(plain: Tensor) -> None:
    images, targets = Augmentations("mixup", K)(plain, CLASSES)
    own = targets[1, CLASSES[1]].item()
    assert 0 < own < 1
    assert_close(targets, wanted(own))
    for image in range(B):
        gray = own * image / 10 + (1 - own) * before(image) / 10
        assert_close(images[image], torch.full((3, 7, 11), gray))


def test_cutmix_shares_targets_by_area(plain: Tensor) -> None:
    images, targets = Augmentations("cutmix", K)(plain, CLASSES)
    for image in range(1, B):
        greys = (images[image] * 10).round()
        assert set(greys.unique().tolist()) <= {float(image), float(before(image))}
        own = (greys == image).float().mean().item()
        assert_close(targets[image], wanted(own)[image])


@pytest.mark.parametrize("name", sorted(BY_IMAGE))
def test_each_image_draws_its_own_change(name: str) -> None:
    images = torch.rand(3, 8, 12).expand(12, 3, 8, 12)
    changed, targets = Augmentations(name, K)(images, torch.zeros(12, dtype=torch.int64))
    assert targets.ndim == 1
    assert changed.shape == images.shape
    assert len({image.numpy().tobytes() for image in changed}) > 3


def test_a_misspelt_one() -> None:
    with pytest.raises(UserError, match="there is no 'mixpu'. Did you mean 'mixup'"):
        Augmentations("cutmix, mixpu", K)


class Interrupt(pl.Callback):
    """Ctrl-C at the start of the second epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_a_training_goes_on_as_if_nothing_had_been(
    image_root: Path, tmp_path: Path, loss: str
) -> None:
    words = ["fit", "--data", str(image_root), *TINY_RUN, "--overlays", "false"]
    words += ["--data.augmentations", "mixup,cutmix,rand_augment,random_erasing"]
    words += [
        "--model.absent_evidence_weight",
        "0.5",
        "--model.loss",
        loss,
        "--trainer.max_epochs",
        "2",
    ]
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    assert main([*words, "--run_dir", str(whole)]) == 0
    stop = ["--trainer.callbacks+", f"{__name__}.Interrupt"]
    assert main([*words, "--run_dir", str(halted), *stop]) == 130
    again = ["fit", "--run_dir", str(halted), "--resume", "--trainer.callbacks", "null"]
    again += ["--trust", f"{__name__}.Interrupt", "--report", "false", "--overlays", "false"]
    assert main(again) == 0
    last = [torch.load(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (whole, halted)]
    assert_close(*last, rtol=0, atol=0)
    stored = yaml.safe_load((whole / "config.yaml").read_text())
    assert stored["data"]["augmentations"] == "mixup,cutmix,rand_augment,random_erasing"
