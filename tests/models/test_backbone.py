"""Backbones: features as a grid, fine enough for small images, from files where asked."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from tests.conftest import TINY
from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone


def test_left_out_strides_can_be_asked_for_by_number() -> None:
    refined = Backbone("resnet18")
    refined.refine(32, min_grid=4)
    assert refined.removed_strides == 2
    again = Backbone("resnet18", removed_strides=2)
    again.load_state_dict(refined.state_dict())
    images = torch.rand(2, 3, 32, 48)
    assert_close(again.eval()(images), refined.eval()(images))


@pytest.mark.parametrize(
    ("name", "stride", "channels"), [("resnet18", 8, 128), ("convnext_atto", 4, 40)]
)
def test_a_cut_backbone(name: str, stride: int, channels: int) -> None:
    backbone = Backbone(name, stride=stride).eval()
    features = backbone(torch.rand(1, 3, 96, 64))
    assert features.shape == (1, channels, 96 // stride, 64 // stride)
    with pytest.raises(UserError, match="cannot be cut at stride 1 "):
        Backbone(name, stride=1)


def test_a_large_image_keeps_every_stride() -> None:
    backbone = Backbone("resnet10t", options=TINY)
    backbone.refine(224, min_grid=7)
    assert (backbone.removed_strides, backbone.grid(224)) == (0, (7, 7))


def test_images_are_normalised_inside() -> None:
    backbone = Backbone("resnet10t", options=TINY).eval()
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(backbone.net.pretrained_cfg[key]) for key in ("mean", "std"))
    by_hand = (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    assert_close(backbone(images), backbone.net(by_hand))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vit_tiny_patch16_224", "takes images of 224x224 pixels only, as no CNN does"),
        ("swin_tiny_patch4_window7_224", "takes images of 224x224 pixels only, as no CNN does"),
        ("xcit_nano_12_p16_224", "gives no grid of features"),
        ("efficientvim_m1", "gives no grid of features"),
    ],
)
def test_what_is_no_cnn_is_refused(name: str, why: str) -> None:
    with pytest.raises(UserError, match=f"^{name} {why}; choose a CNN such as resnet18"):
        Backbone(name)


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'resnet18'"):
        Backbone("resnet81")


def test_options_timm_does_not_know_are_told() -> None:
    with pytest.raises(UserError, match="timm cannot build resnet18"):
        Backbone("resnet18", options={"chanels": 3})


class TestPretrained:
    def source(self) -> torch.nn.Module:
        return timm.create_model("resnet10t", num_classes=7, **TINY)

    def test_from_a_file(self, tmp_path: Path) -> None:
        source = self.source()
        save_file(source.state_dict(), tmp_path / "weights.safetensors")
        loaded = Backbone("resnet10t", str(tmp_path / "weights.safetensors"), options=TINY)
        assert_close(loaded.net.layer4[0].conv1.weight, source.layer4[0].conv1.weight)

    def test_from_a_folder_with_its_own_normalisation(self, tmp_path: Path) -> None:
        source = self.source()
        source.pretrained_cfg["mean"] = (0.1, 0.2, 0.3)
        timm.models.save_for_hf(source, tmp_path, safe_serialization=True)
        loaded = Backbone("resnet10t", str(tmp_path), options=TINY)
        assert_close(loaded.net.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
        assert_close(loaded.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="there is no file or folder"):
            Backbone("resnet10t", str(tmp_path / "none"), options=TINY)

    def test_offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise OSError("the hub cannot be reached")

        monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
        with pytest.raises(UserError, match=r"(?s)cannot be reached.*--model.pretrained PATH"):
            Backbone("resnet18", pretrained=True)


def test_options_open_no_file(tmp_path: Path) -> None:
    """A stranger's model.json names options, too."""
    with pytest.raises(UserError, match="checkpoint_path is not to be set there"):
        Backbone("resnet18", options={"checkpoint_path": str(tmp_path / "theirs.pth")})
