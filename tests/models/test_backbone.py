"""Backbone: normalization, removed strides, cuts, pretrained weights, and errors."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from tests.conftest import TINY
from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone


def test_removed_strides_gives_the_same_network_as_refine() -> None:
    refined = Backbone("resnet18")
    refined.refine(32, min_grid=4)
    assert refined.removed_strides == 2
    rebuilt = Backbone("resnet18", removed_strides=2)
    rebuilt.load_state_dict(refined.state_dict())
    images = torch.rand(2, 3, 32, 48)
    assert_close(rebuilt.eval()(images), refined.eval()(images))


@pytest.mark.parametrize(
    ("name", "stride", "channels"), [("resnet18", 8, 128), ("convnext_atto", 4, 40)]
)
def test_a_backbone_cut_at_a_stride(name: str, stride: int, channels: int) -> None:
    backbone = Backbone(name, stride=stride).eval()
    features = backbone(torch.rand(1, 3, 96, 64))
    assert features.shape == (1, channels, 96 // stride, 64 // stride)
    with pytest.raises(UserError, match="cannot be cut at stride 1 "):
        Backbone(name, stride=1)


def test_refine_for_a_large_image_removes_no_stride() -> None:
    backbone = Backbone("resnet10t", options=TINY)
    backbone.refine(224, min_grid=7)
    assert (backbone.removed_strides, backbone.grid(224)) == (0, (7, 7))


def test_images_are_normalized_inside() -> None:
    backbone = Backbone("resnet10t", options=TINY).eval()
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(backbone.net.pretrained_cfg[key]) for key in ("mean", "std"))
    normalized = (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    assert_close(backbone(images), backbone.net(normalized))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_tiny_patch16_224", "requires images of 224x224 pixels and is not a CNN"),
        ("swin_tiny_patch4_window7_224", "requires images of 224x224 pixels and is not a CNN"),
        ("xcit_nano_12_p16_224", "returns no feature grid"),
        ("efficientvim_m1", "returns no feature grid"),
    ],
)
def test_architectures_other_than_cnns_are_refused(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"^{name} {reason}; choose a CNN such as resnet18"):
        Backbone(name)


def test_a_misspelled_name_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="Did you mean 'resnet18'"):
        Backbone("resnet81")


def test_unknown_timm_options_are_refused() -> None:
    with pytest.raises(UserError, match="timm cannot build resnet18"):
        Backbone("resnet18", options={"chanels": 3})


class TestPretrained:
    def source(self) -> torch.nn.Module:
        return timm.create_model("resnet10t", num_classes=7, **TINY)

    def test_weights_from_a_file(self, tmp_path: Path) -> None:
        source = self.source()
        save_file(source.state_dict(), tmp_path / "weights.safetensors")
        loaded = Backbone("resnet10t", str(tmp_path / "weights.safetensors"), options=TINY)
        assert_close(loaded.net.layer4[0].conv1.weight, source.layer4[0].conv1.weight)

    def test_weights_and_normalization_from_a_folder(self, tmp_path: Path) -> None:
        source = self.source()
        source.pretrained_cfg["mean"] = (0.1, 0.2, 0.3)
        timm.models.save_for_hf(source, tmp_path, safe_serialization=True)
        loaded = Backbone("resnet10t", str(tmp_path), options=TINY)
        assert_close(loaded.net.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
        assert_close(loaded.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="there is no file or folder"):
            Backbone("resnet10t", str(tmp_path / "none"), options=TINY)

    def test_weights_with_other_names_are_refused(self, tmp_path: Path) -> None:
        """timm loads what fits, here nothing, and says so in its log alone."""
        other = {f"features.{name}": value for name, value in self.source().state_dict().items()}
        save_file(other, tmp_path / "weights.safetensors")
        with pytest.raises(UserError, match=r"they lack 75 of its 90 tensors, such as conv1"):
            Backbone("resnet10t", pretrained=str(tmp_path / "weights.safetensors"), options=TINY)

    def test_tensors_that_start_at_random_are_printed(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        some = self.source().state_dict()
        names = [name for name in some if name.startswith("layer4.0.conv2")]
        save_file(
            {k: v for k, v in some.items() if k not in names}, tmp_path / "weights.safetensors"
        )
        Backbone("resnet10t", pretrained=str(tmp_path / "weights.safetensors"), options=TINY)
        output = capsys.readouterr().out
        assert "tensors start at random values: layer4.0.conv2.weight" in output
        assert output.count("\n") == 1

    def test_complete_weights_print_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_file(self.source().state_dict(), tmp_path / "weights.safetensors")
        Backbone("resnet10t", pretrained=str(tmp_path / "weights.safetensors"), options=TINY)
        assert capsys.readouterr().out == ""

    def test_weights_of_another_network_are_refused(self, tmp_path: Path) -> None:
        save_file(self.source().state_dict(), tmp_path / "weights.safetensors")
        with pytest.raises(UserError, match=r"(?s)load.* resnet18: .*size mismatch.*--backbone"):
            Backbone("resnet18", pretrained=str(tmp_path / "weights.safetensors"))


def test_options_cannot_open_files(tmp_path: Path) -> None:
    """An untrusted model.json can contain any options."""
    with pytest.raises(UserError, match="checkpoint_path cannot be set there"):
        Backbone("resnet18", options={"checkpoint_path": str(tmp_path / "theirs.pth")})
