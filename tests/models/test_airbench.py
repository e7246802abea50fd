"""The airbench CNN (whitening, filter norms, timm interface), and cell-deletion augmentation."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from vision_attn.cli.main import main
from vision_attn.models.airbench import Airbench, Whitening
from vision_attn.models.backbone import Backbone
from vision_attn.pooling.base import Channels
from vision_attn.pooling.jetley import Jetley
from vision_attn.training.cell_deletion import delete_cells


def test_whitening_matches_the_paper():
    images = torch.randn(5, 3, 7, 11, dtype=torch.float64) * 3 + 1
    layer = Whitening().double()
    layer.fit(images)

    patches = [
        image[:, row : row + 2, column : column + 2].flatten().numpy()
        for image in images
        for row in range(6)
        for column in range(10)
    ]
    covariance = sum(np.outer(p, p) for p in patches) / len(patches)
    variances, directions = np.linalg.eigh(covariance)
    actual = layer.directions[:12].flatten(1).numpy()
    for index in range(12):  # largest variance first; the sign of a direction is arbitrary
        expected = directions[:, 11 - index] / np.sqrt(variances[11 - index] + 5e-4)
        sign = np.sign(actual[index] @ expected)
        np.testing.assert_allclose(actual[index] * sign, expected, atol=1e-10)
    assert torch.equal(layer.directions[12:], -layer.directions[:12])


def test_whitened_patches_are_uncorrelated_with_variance_one():
    images = torch.randn(64, 3, 17, 13).cumsum(-1)  # neighboring pixels are correlated
    layer = Whitening(eps=0.0)
    layer.fit(images)
    rows = layer(images)[:, :12].movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(rows.T @ rows / len(rows), torch.eye(12), atol=1e-3, rtol=0)


def test_number_of_parameters_matches_the_paper():
    net = Airbench()
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert round((trainable + 2560) / 1e6, 2) == 1.97  # with the paper's 256 x 10 head
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 256, 3, 3)


def test_convolutions_are_initialized_as_the_identity():
    net = Airbench(widths=(24, 24, 24))
    group = net.groups[0]
    grid = torch.rand(2, 24, 9, 9)
    assert torch.equal(group[0](grid), grid)


def test_filters_keep_a_mean_square_norm_of_one(image_root: Path, tmp_path: Path):
    command = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run")]
    command += ["--config", "cifar10_speed", "--model.backbone_options.widths", "[8, 16, 12]"]
    command += ["--ema", "0"]  # check the weights themselves: their average has a smaller norm
    assert main([*command, "--trainer.max_epochs", "2", "--report", "false"]) == 0
    learned = load_file(tmp_path / "run" / "model.safetensors")
    filters = [v for k, v in learned.items() if "groups" in k and v.ndim == 4]
    assert [len(v) for v in filters] == [8, 8, 16, 16, 12, 12]
    for layer in filters:
        assert layer.square().sum((1, 2, 3)).mean().item() == pytest.approx(1, rel=1e-5)
    untrained = Airbench(widths=(8, 16, 12), unit_filters=True)
    assert not torch.allclose(filters[0], untrained.groups[0][0].weight)


def test_the_whitening_bias_is_trained_in_the_first_epochs_only(image_root: Path, tmp_path: Path):
    command = ["fit", "--data", str(image_root), "--config", "cifar10_speed", "--report", "false"]
    command += ["--model.backbone_options.widths", "[8, 16, 12]", "--trainer.max_epochs", "2"]
    biases, filters = [], []
    for epochs in (0, 1, 2):
        run = tmp_path / str(epochs)
        options = ["--model.backbone_options.bias_epochs", str(epochs), "--run_dir", str(run)]
        assert main([*command, *options, "--trainer.check_val_every_n_epoch", "2"]) == 0
        learned = load_file(run / "model.safetensors")
        biases.append(learned["backbone.net.whitening.bias"])
        filters.append(learned["backbone.net.groups.0.0.weight"])
    assert not biases[0].any()
    assert biases[1].any()
    assert not torch.equal(biases[1], biases[2])
    assert not torch.equal(filters[0], filters[1])


def test_airbench_is_registered_with_timm():
    assert timm.is_model("airbench")
    backbone = Backbone("airbench", options={"kernels": (3, 3, 1), "strides": (2, 2, 1)})
    assert backbone.channels == 256
    assert backbone.grid(32) == (7, 7)


def test_the_receptive_field_is_23_pixels():
    """2x2 patches, two 3x3 groups halved twice, and 1x1 filters: 23 pixels."""
    backbone = Backbone("airbench", options={"kernels": (3, 3, 1), "strides": (2, 2, 1)})
    for layer in backbone.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.uniform_(layer.weight, 0.1, 1)  # positive, so that nothing cancels
    image = torch.rand(1, 3, 96, 96, requires_grad=True)
    with torch.no_grad():
        backbone.train()
        backbone(torch.rand(4, 3, 96, 96))
    backbone.eval()
    backbone(image)[0, :, 11, 11].sum().backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 <= 23


def test_grids_returns_the_earlier_layers():
    backbone = Backbone("airbench", options={"widths": (8, 12, 16)})
    pooling = Jetley(Channels(backbone.channels, 3, backbone.earlier_channels))
    images = torch.rand(2, 3, 32, 32)
    backbone.eval()
    grids = backbone.grids(images, pooling.earlier_layers)
    assert [grid.shape[1] for grid in grids] == [8, 12, 16][-len(grids) :]
    assert torch.equal(grids[-1], backbone(images))


def test_airbench_can_be_cut_at_a_stride():
    backbone = Backbone("airbench", stride=4)
    assert (backbone.channels, backbone.grid(32)) == (256, (7, 7))


@pytest.mark.parametrize("at_most", [1, 5, 16])
def test_cell_deletion_fills_whole_cells_with_one_color(at_most):
    torch.manual_seed(0)
    images = torch.rand(200, 3, 12, 20)
    fill = torch.tensor([2.0, 3.0, 4.0]).view(1, 3, 1, 1)  # a color that no pixel has
    changed = delete_cells(images, fill, at_most)
    deleted = (changed == fill).all(1)
    cells = deleted.unflatten(1, (4, 3)).unflatten(3, (4, 5)).movedim(3, 2).flatten(3)
    assert torch.equal(cells.all(-1), cells.any(-1))  # no cell is deleted in part
    counts = cells.all(-1).sum((1, 2))
    assert counts.min() == 0
    assert counts.max() == at_most
    assert torch.equal(
        changed.masked_fill(deleted.unsqueeze(1), 0), images.masked_fill(deleted.unsqueeze(1), 0)
    )


def test_init_from_data_reads_images_only_for_networks_that_support_it():
    calls = []

    def sample() -> torch.Tensor:
        calls.append(True)
        return torch.rand(6, 3, 32, 32)

    Backbone("resnet10t", options={"channels": [8, 8, 8, 8]}).init_from_data(sample)
    assert not calls
    backbone = Backbone("airbench", options={"widths": (8, 8, 8)})
    before = backbone.net.whitening.directions.clone()
    backbone.init_from_data(sample)
    assert calls
    assert not torch.equal(backbone.net.whitening.directions, before)


def test_frozen_batch_norm_scales_stay_at_one(image_root: Path, tmp_path: Path):
    command = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run")]
    command += ["--model.backbone", "airbench", "--model.backbone_options", '{"widths": [8, 8, 8]}']
    command += ["--model.freeze_epochs", "1", "--trainer.max_epochs", "3", "--data.batch_size", "8"]
    command += ["--model.min_grid", "1", "--report", "false"]
    assert main(command) == 0
    learned = load_file(tmp_path / "run" / "model.safetensors")
    scales = [
        v for k, v in learned.items() if "groups" in k and k.endswith(".weight") and v.ndim == 1
    ]
    assert len(scales) == 6
    assert all(torch.equal(scale, torch.ones(8)) for scale in scales)
    filters = learned["backbone.net.groups.2.0.weight"]
    assert not torch.equal(filters[0, 0], torch.nn.init.dirac_(torch.empty(8, 8, 3, 3))[0, 0])
