"""Backbones of all CNN families of timm: grid size, exact evidence, gradients, saving."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from vision_attn.core.errors import UserError
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.models.timm_network import timm_of
from vision_attn.pooling.global_local import GlobalLocal
from vision_attn.pooling.jetley import Jetley
from vision_attn.runs.folder import ModelSpec, RunFolder

FAMILIES = """
    convmixer_768_32 convnext_atto convnextv2_atto cpubone_nano cs3darknet_s cspnext_tiny
    darknet17 densenet121 dla34 dpn48b edgenext_xx_small efficientnet_b0 efficientvit_b0
    efficientvit_m0 ese_vovnet19b_dw fasternet_t0 fastvit_t8 fbnetv3_b gernet_s ghostnet_050
    ghostnetv3_050 hardcorenas_a hgnetv2_b0 hrnet_w18_small iformer_t inception_next_atto
    inception_v3 lambda_resnet26t lcnetv2_small legacy_seresnet18 legacy_xception lowformer_b0
    mambaout_femto mixnet_s mnasnet_050 mobilenetv2_050 mobilenetv3_small_050
    mobilenetv4_conv_small_035 mobileone_s0 mobilevit_xxs nf_regnet_b0 poolformer_s12 regnetx_002
    regnety_002 regnetz_b16 repghostnet_050 repvgg_a0 repvit_m0_9 resnest14d resnet10t
    resnet50_clip resnetv2_18 rexnet_100 selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050
    swiftformer_xs tinynet_e tresnet_m vgg11_bn xception41
""".split()  # noqa: SIM905  a list of quoted names would take 60 lines
UNPADDED = {"inception_v3"}  # convolutions without padding make the grid smaller
MIXING_HEADS = {"vgg11_bn", "resnet50_clip", "efficientvit_b0", "inception_next_atto"}
SIZE = 128


@pytest.fixture(params=FAMILIES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return Backbone(request.param).eval()


def test_at_least_60_families_are_listed() -> None:
    assert len(set(FAMILIES)) >= 60


def test_classifier_with_this_backbone(backbone: Backbone, tmp_path: Path) -> None:
    check_grid(backbone)
    model = AttentionClassifier(backbone, GlobalLocal, 3).eval()
    images = torch.rand(2, 3, SIZE, SIZE)
    logits = check_evidence(model, images)
    check_gradients(model, logits)
    check_saved(model, images, logits.detach(), tmp_path)


def check_grid(backbone: Backbone) -> None:
    """Features have shape (B, C, h, w), with the stride that timm reports."""
    reduction = timm_of(backbone.net).feature_info[-1]["reduction"]
    features = backbone(torch.rand(1, 3, SIZE, 2 * SIZE))
    assert features.shape[1] == backbone.channels
    if backbone.name not in UNPADDED:
        assert features.shape[2:] == (SIZE // reduction, 2 * SIZE // reduction)
    assert backbone.uses_timm_head == (backbone.name not in MIXING_HEADS)


def check_evidence(model: AttentionClassifier, images: torch.Tensor) -> torch.Tensor:
    logits = model(images)
    total = model.evidence(images).sum((-2, -1)) + model.head.bias
    assert (total - logits).abs().max() <= 1e-5 * logits.abs().max()
    return logits


def check_gradients(model: AttentionClassifier, logits: torch.Tensor) -> None:
    """Gradients reach the stem and every parameter, as DDP requires."""
    logits.sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    stem = next(p for p in model.backbone.parameters() if p.ndim == 4)
    assert stem.grad.abs().max() > 0


def check_saved(
    model: AttentionClassifier, images: torch.Tensor, logits: torch.Tensor, folder: Path
) -> None:
    backbone = model.backbone
    spec = ModelSpec(
        backbone=backbone.name,
        backbone_options={},
        stride=None,
        removed_strides=0,
        pooling={"class_path": "global_local", "init_args": {}},
        class_names=["a", "b", "c"],
        image_size=SIZE,
        mean=backbone.mean.flatten().tolist(),
        std=backbone.std.flatten().tolist(),
    )
    RunFolder(folder).save_model(model, spec)
    loaded = RunFolder(folder).load_model()
    with torch.no_grad():
        assert_close(loaded(images), logits, rtol=0, atol=0)


def test_refine_for_small_images(backbone: Backbone) -> None:
    shapes = {key: tensor.shape for key, tensor in backbone.state_dict().items()}
    backbone.refine(32, min_grid=4)
    assert min(backbone(torch.rand(1, 3, 32, 32)).shape[-2:]) >= 4
    assert {key: tensor.shape for key, tensor in backbone.state_dict().items()} == shapes


def test_refine_to_an_impossible_grid_is_refused() -> None:
    with pytest.raises(UserError, match="no stride left to remove; choose larger images"):
        Backbone("resnet10t", options={"channels": [8, 8, 8, 8]}).refine(32, min_grid=64)


def test_earlier_stages(backbone: Backbone) -> None:
    images = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        earlier, features = backbone.grids(images, 1)
        assert_close(features, backbone(images))
        assert earlier.shape[1] == backbone.earlier_channels[-1]
        assert earlier.shape[-1] >= features.shape[-1]
        logits = AttentionClassifier(backbone, Jetley, 3).eval()(images)
    assert torch.isfinite(logits).all()


def test_a_cut_backbone_returns_the_remaining_stages() -> None:
    backbone = Backbone("resnet10t", stride=8, options={"channels": [8, 16, 24, 32]}).eval()
    earlier, features = backbone.grids(torch.rand(1, 3, 64, 64), 1)
    assert (earlier.shape[1:], features.shape[1:]) == ((8, 16, 16), (16, 8, 8))
    with pytest.raises(UserError, match="layers must be 1 to 3 with this backbone, not 4"):
        AttentionClassifier(backbone, lambda channels: Jetley(channels, layers=4), 2)


def test_unused_layers_are_removed() -> None:
    backbone = Backbone("vgg11_bn")
    assert isinstance(backbone.net.pre_logits, nn.Identity)
    assert backbone.channels == 512
