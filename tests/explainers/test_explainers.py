"""Test that explainers follow the interface and highlight the pixels that decide the class."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from vision_attn.core.errors import UserError
from vision_attn.core.grid import upsample
from vision_attn.core.registry import available
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.contrast import Contrast
from vision_attn.explainers.deep_lift import DeepLift
from vision_attn.explainers.evidence import Evidence
from vision_attn.explainers.grad_cam import GradCam
from vision_attn.explainers.integrated_gradients import IntegratedGradients
from vision_attn.explainers.random import Random
from vision_attn.explainers.saliency import Saliency
from vision_attn.explainers.smooth_grad import NOISE, SAMPLES, SmoothGrad
from vision_attn.metrics.explanation.base import EvaluationBatch
from vision_attn.metrics.explanation.pointing_game import PointingGame
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.global_attention import GlobalAttention

EXPLAINERS = available(Explainer)
SIDE, CELL = 5, 8
Build = Callable[..., AttentionClassifier]


class Mosaic(nn.Module):
    """A transparent backbone: the channels of each cell are its mean colors."""

    channels = 4
    earlier_channels = ()

    def __init__(self) -> None:
        super().__init__()
        self.last_grid = nn.Identity()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(images, CELL)
        return self.last_grid(torch.cat([cells, cells.mean(1, keepdim=True)], 1))

    def grids(self, images: Tensor, earlier: int) -> list[Tensor]:
        return [self(images)]


@pytest.fixture
def color_model() -> AttentionClassifier:
    """A model whose class 0 is redness and class 1 blueness; it attends to colorful cells."""
    model = AttentionClassifier(Mosaic(), one_head_attention, 2)  # type: ignore[arg-type]
    nn.init.zeros_(model.head.bias)
    model.head.weight.data = torch.tensor([[9.0, -3, -3, 0], [-3, -3, 9.0, 0]])
    model.pooling.queries.data = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    return model.eval()


def one_head_attention(channels: int) -> GlobalAttention:
    return GlobalAttention(channels, heads=1)


@pytest.fixture
def images_and_masks() -> tuple[Tensor, Tensor]:
    """Green images, each with one red cell, and the masks of these cells."""
    images = torch.tensor([0.25, 0.4, 0.25]).view(1, 3, 1, 1).repeat(6, 1, SIDE * CELL, SIDE * CELL)
    masks = torch.zeros(6, SIDE * CELL, SIDE * CELL, dtype=torch.bool)
    for k in range(6):
        y, x = (3 * k % SIDE) * CELL, (2 * k % SIDE) * CELL
        images[k, :, y : y + CELL, x : x + CELL] = torch.tensor([1.0, 0.2, 0.25]).view(3, 1, 1)
        masks[k, y : y + CELL, x : x + CELL] = True
    return images, masks


CONTROLS = {"random", "center"}
BY_REGION = {"feature_ablation", "kernel_shap"}  # a region overlaps two cells


@pytest.mark.parametrize("name", sorted(set(EXPLAINERS) - CONTROLS))
def test_maps_peak_on_the_decisive_cell(
    name: str, color_model: AttentionClassifier, images_and_masks: tuple[Tensor, Tensor]
) -> None:
    images, masks = images_and_masks
    targets = torch.zeros(6, dtype=torch.long)
    heatmaps = EXPLAINERS[name]()(color_model, images, targets)
    hits = PointingGame().score(EvaluationBatch(color_model, images, targets, masks), heatmaps)
    assert hits.min() >= (0.6 if name in BY_REGION else 1)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_explainers_follow_the_interface(name: str, tiny_model: Build) -> None:
    model, images = tiny_model(), torch.rand(3, 3, 32, 48)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    explainer = EXPLAINERS[name]()
    heatmaps = explainer(model, images, torch.tensor([0, 2, 1]))
    assert heatmaps.ndim == 3
    assert len(heatmaps) == 3
    assert heatmaps.isfinite().all()
    assert not heatmaps.requires_grad
    assert explainer.signed or (heatmaps >= 0).all()
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("attention", 1e-12), ("evidence", 1e-12), ("integrated_gradients", 0.1)],
)
def test_maps_add_up_to_the_expected_sum(name: str, tolerance: float, tiny_model: Build) -> None:
    model, images = tiny_model().double(), torch.rand(3, 3, 32, 48, dtype=torch.float64)
    targets = torch.tensor([0, 2, 1])
    explainer = EXPLAINERS[name]()
    total = explainer.expected_sum(model, images, targets)
    assert total is not None
    found = explainer(model, images, targets).sum((1, 2))
    assert (found - total).abs().max() <= tolerance * model(images).abs().max()


@pytest.mark.parametrize("name", sorted(set(EXPLAINERS) - {"kernel_shap"}))
def test_several_targets_at_once_match_single_targets(name: str, tiny_model: Build) -> None:
    model, images = tiny_model(), torch.rand(2, 3, 32, 32)
    targets = torch.tensor([[0, 2], [1, 0]])
    together = EXPLAINERS[name]().for_targets(model, images, targets)
    for column in range(2):
        single = EXPLAINERS[name]()(model, images, targets[:, column])
        assert_close(together[:, column], single, rtol=1e-4, atol=1e-5)


def test_expected_sum_of_evidence_is_the_logit_without_bias(tiny_model: Build) -> None:
    model, images = tiny_model().double(), torch.rand(3, 3, 32, 48, dtype=torch.float64)
    targets = torch.tensor([0, 2, 1])
    logits = model(images)[torch.arange(3), targets]
    assert_close(Evidence().expected_sum(model, images, targets) + model.head.bias[targets], logits)


def test_expected_sums_are_logit_differences_from_the_baseline_image(
    color_model: AttentionClassifier,
) -> None:
    images, targets = torch.rand(2, 3, SIDE * CELL, SIDE * CELL), torch.tensor([0, 1])
    rise = color_model(images) - color_model(color_model.backbone.mean.expand_as(images))
    rows = torch.arange(2)
    for explainer in (IntegratedGradients(), DeepLift()):
        assert_close(explainer.expected_sum(color_model, images, targets), rise[rows, targets])
    maps = IntegratedGradients()(color_model, images, targets)
    assert_close(maps.sum((1, 2)), rise[rows, targets], rtol=0.05, atol=0.02)


class TestContrast:
    def test_against_a_given_class_adds_up_to_the_margin(self, tiny_model: Build) -> None:
        model, images = tiny_model().double(), torch.rand(4, 3, 32, 48, dtype=torch.float64)
        targets, bias = torch.tensor([0, 2, 0, 2]), model.head.bias
        contrast = Contrast(against=1)
        logits = model(images)
        margin = logits[torch.arange(4), targets] - logits[:, 1]
        maps = contrast(model, images, targets)
        assert_close(maps.sum((1, 2)) + bias[targets] - bias[1], margin)
        assert_close(contrast.expected_sum(model, images, targets), maps.sum((1, 2)))

    def test_against_the_strongest_rival_at_each_cell(self, tiny_model: Build) -> None:
        model, images = tiny_model(), torch.rand(2, 3, 32, 32)
        class_maps = model.evidence(images)
        maps = Contrast()(model, images, torch.tensor([1, 2]))
        by_hand = class_maps[0, 1] - torch.maximum(class_maps[0, 0], class_maps[0, 2])
        assert_close(maps[0], by_hand)
        assert Contrast().expected_sum(model, images, torch.tensor([1, 2])) is None

    def test_target_equal_to_against_uses_the_strongest_rival(self, tiny_model: Build) -> None:
        model, images = tiny_model(), torch.rand(2, 3, 32, 32)
        targets = torch.tensor([1, 2])
        contrast = Contrast(against=1)
        assert_close(contrast(model, images, targets)[0], Contrast()(model, images, targets)[0])
        assert contrast.expected_sum(model, images, targets).isnan().tolist() == [True, False]

    def test_contrast_of_grad_cam_uses_signed_maps(self, tiny_model: Build) -> None:
        model, images = tiny_model(), torch.rand(2, 3, 32, 32)
        class_maps = GradCam().for_every_class(model, images)
        assert (class_maps < 0).any()
        for k in range(3):  # against Captum's maps, class by class
            maps = GradCam()(model, images, torch.full((2,), k))
            assert_close(class_maps[:, k].relu(), maps, rtol=1e-4, atol=1e-6)
        maps = Contrast(GradCam())(model, images, torch.zeros(2, dtype=torch.long))
        assert_close(maps, class_maps[:, 0] - class_maps[:, 1:].amax(1))


def test_smooth_grad_averages_before_the_absolute_value(
    color_model: AttentionClassifier,
) -> None:
    images, targets = torch.rand(2, 3, SIDE * CELL, SIDE * CELL), torch.tensor([0, 1])
    torch.manual_seed(0)
    noisy = images.repeat_interleave(SAMPLES, 0)
    noisy = (noisy + torch.randn_like(noisy) * NOISE).requires_grad_()
    target_logits = color_model(noisy)[torch.arange(len(noisy)), targets.repeat_interleave(SAMPLES)]
    (gradients,) = torch.autograd.grad(target_logits.sum(), noisy)
    by_hand = gradients.unflatten(0, (2, SAMPLES)).mean(1).abs().amax(1)
    found = SmoothGrad()(color_model, images, targets)
    assert torch.corrcoef(torch.stack([found.flatten(), by_hand.flatten()]))[0, 1] > 0.97
    saliency = Saliency()(color_model, images, targets)
    assert not torch.allclose(found, saliency, rtol=0.01)


def test_random_maps_depend_only_on_the_image(color_model: AttentionClassifier) -> None:
    images = torch.rand(3, 3, SIDE * CELL, SIDE * CELL)
    both = Random()(color_model, images, torch.zeros(3))
    assert_close(Random()(color_model, images[1:2], torch.zeros(1)), both[1:2])
    assert not torch.allclose(both[0], both[1])


def test_kernel_shap_without_scikit_learn_raises_user_error(
    color_model: AttentionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_attn.explainers.kernel_shap.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'vision-attn\[kernel_shap\]'"):
        EXPLAINERS["kernel_shap"]()(color_model, torch.rand(1, 3, 40, 40), torch.zeros(1).long())


def test_an_unsupported_layer_raises_user_error(
    color_model: AttentionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("A Module ReLU() was detected that is used more than once")

    monkeypatch.setattr("captum.attr.DeepLift.attribute", fail)
    color_model.backbone.name = "resnet18"
    with pytest.raises(UserError, match=r"deep_lift cannot be used on resnet18: A Module ReLU"):
        DeepLift()(color_model, torch.rand(1, 3, 40, 40), torch.zeros(1).long())


class TestUpsample:
    def test_each_cell_peaks_at_its_own_pixels(self) -> None:
        for y in range(3):
            for x in range(5):
                cell = torch.zeros(1, 3, 5)
                cell[0, y, x] = 1
                upsampled = upsample(cell, 21, 35)[0]
                assert upsampled[7 * y + 3, 7 * x + 3] == upsampled.max()
                rows, columns = (upsampled == upsampled.max()).nonzero().T  # constant at the border
                assert set((rows // 7).tolist()) == {y}
                assert set((columns // 7).tolist()) == {x}

    def test_commutes_with_flipping(self) -> None:
        heatmaps = torch.rand(2, 3, 5)
        assert_close(upsample(heatmaps.flip(-1), 31, 29), upsample(heatmaps, 31, 29).flip(-1))
