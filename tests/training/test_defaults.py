"""Automatic choices of a training: validation share, backbone, duration and learning rates."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.optim import AdamW
from torch.testing import assert_close

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.data.augmentation import Augment
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.models.backbone import Backbone
from vision_attn.models.defaults import (
    default_backbone,
    default_grid_size,
    default_stride,
    pretrained_backbones,
)
from vision_attn.pooling.average import Average
from vision_attn.training.auto_settings import recorded_auto_settings
from vision_attn.training.task import ClassificationTask


class TestNetwork:
    @pytest.mark.parametrize(("size", "stride"), [(32, None), (64, 16), (128, 16), (224, None)])
    def test_the_last_stage_is_dropped_if_its_grid_is_too_coarse(
        self, size: int, stride: int | None
    ) -> None:
        assert default_stride("resnet10t", None, size) == stride

    def test_without_the_last_stage_no_stride_is_removed(self) -> None:
        cut = Backbone("resnet10t", stride=16)
        assert cut.grid(128) == (8, 8)
        cut.refine(128, default_grid_size(128))
        assert cut.removed_strides == 0


class TestBackbone:
    def build(self, **options: Any) -> Backbone:
        return ClassificationTask(Average, AdamW, 3, 64, **options).model.backbone

    @pytest.fixture(params=[True, False])
    def accelerated(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: request.param)
        return bool(request.param)

    def test_a_light_backbone_is_the_default_from_scratch_without_a_gpu(
        self, accelerated: bool
    ) -> None:
        found = self.build()
        light = ("resnet10t", {"channels": [32, 64, 128, 256], "stem_width": 16})
        assert (found.name, found.options) == (("resnet18", {}) if accelerated else light)

    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"backbone": "resnet10t"}, "resnet10t"),
            ({"backbone_options": {"layers": [1, 1, 1, 1]}}, "resnet18"),
            ({"stem_lr_scale": 0.1}, "resnet18"),  # for pretrained weights
        ],
    )
    def test_a_given_backbone_is_kept(self, options: dict[str, Any], name: str) -> None:
        found = self.build(**options)
        assert (found.name, found.options) == (name, options.get("backbone_options", {}))

    def test_the_automatic_backbone_is_printed_and_recorded(
        self, image_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = tmp_path / "run"
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), "--report", "false"]
        words += ["--data.image_size", "32", "--trainer.max_epochs", "1", "--overlays", "false"]
        assert main(words) == 0
        output = capsys.readouterr().out
        name, options = default_backbone(None, None, True, torch.accelerator.is_available())
        assert f"model     {name} with" in output
        assert "--backbone" in output
        stored = yaml.safe_load((run / "config.yaml").read_text())["model"]
        assert (stored["backbone"], stored["backbone_options"]) == (name, options)
        assert "model.backbone" in recorded_auto_settings(run / "config.yaml")
        assert main(["fit", "--run_dir", str(run), "--resume", "--report", "false"]) == 0
        assert main(["test", str(run)]) == 0


class TestPretrained:
    def reaches(self, name: str) -> bool:
        """Whether a place of the grid depends on a pixel at the other end of a long image."""
        net = Backbone(name).eval()
        image = torch.rand(1, 3, 64, 1600)
        other = image.clone()
        other[..., :32] = 1 - other[..., :32]
        with torch.no_grad():
            return not torch.equal(net(image)[..., -1], net(other)[..., -1])

    @pytest.mark.parametrize("accelerated", [True, False])
    def test_places_of_the_default_networks_see_only_their_surroundings(
        self, accelerated: bool
    ) -> None:
        for name in pretrained_backbones(accelerated):
            assert not self.reaches(name)

    def test_with_squeeze_and_excitation_they_see_the_whole_image(self) -> None:
        assert self.reaches("efficientnet_b0")


class TestLearningRates:
    def test_increase_from_the_first_to_the_last_layers_by_equal_ratios(self) -> None:
        backbone = Backbone("resnet18")
        rates, net = backbone.lr_scales(0.1), dict(backbone.net.named_parameters())
        found = [rates[net["conv1.weight"]]]
        found += [rates[net[f"layer{k}.0.conv1.weight"]] for k in (1, 2, 3, 4)]
        assert_close(found, [10 ** (-1 + k / 4) for k in range(5)])
        assert set(rates) == set(net.values())

    def test_a_network_without_known_layers_has_one_rate(self) -> None:
        assert Backbone("airbench", options={"strides": [2, 2, 1]}).lr_scales(0.1) == {}


class TestColorJitter:
    def test_brightness_and_contrast_vary_per_image_within_the_given_range(self) -> None:
        torch.manual_seed(0)
        images = torch.full((50, 3, 2, 2), 0.3)
        images[..., 1] = 0.5  # mean 0.4, 0.1 on either side
        changed = Augment(flip=False, shift=0, zoom=1, color_jitter=0.2)(images)
        mean = changed.mean((1, 2, 3))
        spread = (changed[..., 1] - changed[..., 0]).mean((1, 2)) / 2 / mean * 4
        for factors in (mean / 0.4, spread):
            assert 0.8 <= factors.min() < 0.85
            assert 1.15 < factors.max() <= 1.2

    def test_pixels_stay_in_0_to_1(self) -> None:
        white = Augment(flip=False, shift=0, zoom=1, color_jitter=0.5)(torch.ones(20, 3, 2, 2))
        assert white.max() == 1
        assert white.min() < 0.7


class TestImbalancedClasses:
    @pytest.fixture
    def imbalanced(self, tmp_path: Path) -> Path:
        write_images(tmp_path / "set" / "red", 60, 0)
        write_images(tmp_path / "set" / "green", 10, 1)
        return tmp_path / "set"

    def test_a_small_class_has_a_larger_validation_share(self, imbalanced: Path) -> None:
        data = ImageDataModule(ImageFolder(str(imbalanced)))
        assert [data.splits["val"].labels.count(name) for name in ("red", "green")] == [10, 2]
        exact = ImageDataModule(ImageFolder(str(imbalanced)), val_fraction=0.1)
        assert [exact.splits["val"].labels.count(name) for name in ("red", "green")] == [6, 1]

    def test_the_best_weights_are_chosen_by_balanced_accuracy(
        self, imbalanced: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = tmp_path / "run"
        words = ["fit", "--data", str(imbalanced), "--run_dir", str(run), *TINY_RUN]
        assert main([*words, "--trainer.max_epochs", "1"]) == 0
        output = capsys.readouterr().out
        assert "best weights by balanced accuracy" in output
        assert "val/balanced_accuracy" in output
        (row,) = csv.DictReader((run / "results.csv").read_text().splitlines())
        last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        best = last["callbacks"]["SaveBestModel"]["best"]
        assert best == pytest.approx(float(row["val/balanced_accuracy"]), abs=1e-5)


class TestEarlyStopping:
    def test_stops_after_epochs_without_a_better_score(
        self, image_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = tmp_path / "run"
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        words += ["--model.optimizer.lr", "0", "--patience", "2", "--trainer.max_epochs", "9"]
        assert main(words) == 0
        assert "stops after 2 epochs without a better accuracy" in capsys.readouterr().out
        last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["epoch"] < 8
        assert yaml.safe_load((run / "config.yaml").read_text())["patience"] == 2


class TestFineTuning:
    def test_the_first_layers_have_a_lower_learning_rate(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = tmp_path / "tuned"
        words = ["fit", "--data", str(trained[1]), "--init_from", str(trained[0]), "--report"]
        words += ["false", "--run_dir", str(run), "--trainer.max_epochs", "1"]
        assert main(words) == 0
        assert "the first layers learn at 0.1 times the learning rate" in capsys.readouterr().out
        last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        (optimizer,) = last["optimizer_states"]
        rates = {group["initial_lr"] for group in optimizer["param_groups"]}
        assert min(rates) == pytest.approx(1e-4)
        assert max(rates) == pytest.approx(1e-3)
        assert len(rates) > 2
