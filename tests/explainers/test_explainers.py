"""Every explainer keeps the promise and finds evidence that was planted."""

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
    """A backbone one can see through: each cell's channels are its mean colours."""

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
def seer() -> AttentionClassifier:
    """Class 0 is redness, class 1 is blueness; attention goes to colourful cells."""
    model = AttentionClassifier(Mosaic(), GlobalAttention_one_head, 2)  # type: ignore[arg-type]
    nn.init.zeros_(model.head.bias)
    model.head.weight.data = torch.tensor([[9.0, -3, -3, 0], [-3, -3, 9.0, 0]])
    model.pooling.queries.data = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    return model.eval()


def GlobalAttention_one_head(channels: int) -> GlobalAttention:
    return GlobalAttention(channels, heads=1)


@pytest.fixture
def planted() -> tuple[Tensor, Tensor]:
    """Green images, each with one red cell; where the cell is, as masks."""
    images = torch.tensor([0.25, 0.4, 0.25]).view(1, 3, 1, 1).repeat(6, 1, SIDE * CELL, SIDE * CELL)
    masks = torch.zeros(6, SIDE * CELL, SIDE * CELL, dtype=torch.bool)
    for k in range(6):
        y, x = (3 * k % SIDE) * CELL, (2 * k % SIDE) * CELL
        images[k, :, y : y + CELL, x : x + CELL] = torch.tensor([1.0, 0.2, 0.25]).view(3, 1, 1)
        masks[k, y : y + CELL, x : x + CELL] = True
    return images, masks


CONTROLS = {"random", "center"}
BY_REGION = {"feature_ablation", "kernel_shap"}  # a region lies across two cells


@pytest.mark.parametrize("name", sorted(set(EXPLAINERS) - CONTROLS))
def test_the_heat_falls_on_what_decided(
    name: str, seer: AttentionClassifier, planted: tuple[Tensor, Tensor]
) -> None:
    images, masks = planted
    targets = torch.zeros(6, dtype=torch.long)
    heatmaps = EXPLAINERS[name]()(seer, images, targets)
    hits = PointingGame().score(EvaluationBatch(seer, images, targets, masks), heatmaps)
    assert hits.min() >= (0.6 if name in BY_REGION else 1)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_promise(name: str, tiny_model: Build) -> None:
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
def test_maps_add_up_to_what_is_promised(name: str, tolerance: float, tiny_model: Build) -> None:
    model, images = tiny_model().double(), torch.rand(3, 3, 32, 48, dtype=torch.float64)
    targets = torch.tensor([0, 2, 1])
    explainer = EXPLAINERS[name]()
    total = explainer.expected_sum(model, images, targets)
    assert total is not None
    found = explainer(model, images, targets).sum((1, 2))
    assert (found - total).abs().max() <= tolerance * model(images).abs().max()


@pytest.mark.parametrize("name", sorted(set(EXPLAINERS) - {"kernel_shap"}))
def test_several_targets_at_once_are_those_one_by_one(name: str, tiny_model: Build) -> None:
    model, images = tiny_model(), torch.rand(2, 3, 32, 32)
    targets = torch.tensor([[0, 2], [1, 0]])
    together = EXPLAINERS[name]().for_targets(model, images, targets)
    for column in range(2):
        alone = EXPLAINERS[name]()(model, images, targets[:, column])
        assert_close(together[:, column], alone, rtol=1e-4, atol=1e-5)


def test_evidence_promises_the_logit(tiny_model: Build) -> None:
    model, images = tiny_model().double(), torch.rand(3, 3, 32, 48, dtype=torch.float64)
    targets = torch.tensor([0, 2, 1])
    logits = model(images)[torch.arange(3), targets]
    assert_close(Evidence().expected_sum(model, images, targets) + model.head.bias[targets], logits)


def test_rises_from_the_plain_image(seer: AttentionClassifier) -> None:
    images, targets = torch.rand(2, 3, SIDE * CELL, SIDE * CELL), torch.tensor([0, 1])
    rise = seer(images) - seer(seer.backbone.mean.expand_as(images))
    rows = torch.arange(2)
    for explainer in (IntegratedGradients(), DeepLift()):
        assert_close(explainer.expected_sum(seer, images, targets), rise[rows, targets])
    maps = IntegratedGradients()(seer, images, targets)
    assert_close(maps.sum((1, 2)), rise[rows, targets], rtol=0.05, atol=0.02)


class TestContrast:
    def test_against_a_named_class_adds_up(self, tiny_model: Build) -> None:
        model, images = tiny_model().double(), torch.rand(4, 3, 32, 48, dtype=torch.float64)
        targets, bias = torch.tensor([0, 2, 0, 2]), model.head.bias
        contrast = Contrast(against=1)
        logits = model(images)
        margin = logits[torch.arange(4), targets] - logits[:, 1]
        maps = contrast(model, images, targets)
        assert_close(maps.sum((1, 2)) + bias[targets] - bias[1], margin)
        assert_close(contrast.expected_sum(model, images, targets), maps.sum((1, 2)))

    def test_against_the_strongest_rival_of_each_place(self, tiny_model: Build) -> None:
        model, images = tiny_model(), torch.rand(2, 3, 32, 32)
        everything = model.evidence(images)
        maps = Contrast()(model, images, torch.tensor([1, 2]))
        by_hand = everything[0, 1] - torch.maximum(everything[0, 0], everything[0, 2])
        assert_close(maps[0], by_hand)
        assert Contrast().expected_sum(model, images, torch.tensor([1, 2])) is None

    def test_against_itself_it_is_the_strongest_rival(self, tiny_model: Build) -> None:
        model, images = tiny_model(), torch.rand(2, 3, 32, 32)
        targets = torch.tensor([1, 2])
        mixed = Contrast(against=1)
        assert_close(mixed(model, images, targets)[0], Contrast()(model, images, targets)[0])
        assert mixed.expected_sum(model, images, targets).isnan().tolist() == [True, False]

    def test_of_grad_cam_keeps_its_signs(self, tiny_model: Build) -> None:
        model, images = tiny_model(), torch.rand(2, 3, 32, 32)
        everything = GradCam().for_every_class(model, images)
        assert (everything < 0).any()
        for k in range(3):  # Captum's, class by class
            maps = GradCam()(model, images, torch.full((2,), k))
            assert_close(everything[:, k].relu(), maps, rtol=1e-4, atol=1e-6)
        maps = Contrast(GradCam())(model, images, torch.zeros(2, dtype=torch.long))
        assert_close(maps, everything[:, 0] - everything[:, 1:].amax(1))


def test_smooth_grad_averages_gradients_before_it_takes_their_size(
    seer: AttentionClassifier,
) -> None:
    images, targets = torch.rand(2, 3, SIDE * CELL, SIDE * CELL), torch.tensor([0, 1])
    torch.manual_seed(0)
    noisy = images.repeat_interleave(SAMPLES, 0)
    noisy = (noisy + torch.randn_like(noisy) * NOISE).requires_grad_()
    chosen = seer(noisy)[torch.arange(len(noisy)), targets.repeat_interleave(SAMPLES)]
    (gradients,) = torch.autograd.grad(chosen.sum(), noisy)
    by_hand = gradients.unflatten(0, (2, SAMPLES)).mean(1).abs().amax(1)
    found = SmoothGrad()(seer, images, targets)
    assert torch.corrcoef(torch.stack([found.flatten(), by_hand.flatten()]))[0, 1] > 0.97
    plain = Saliency()(seer, images, targets)
    assert not torch.allclose(found, plain, rtol=0.01)


def test_random_heat_belongs_to_the_image(seer: AttentionClassifier) -> None:
    images = torch.rand(3, 3, SIDE * CELL, SIDE * CELL)
    both = Random()(seer, images, torch.zeros(3))
    assert_close(Random()(seer, images[1:2], torch.zeros(1)), both[1:2])
    assert not torch.allclose(both[0], both[1])


def test_a_missing_library_is_told(
    seer: AttentionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_attn.explainers.kernel_shap.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'vision-attn\[kernel_shap\]'"):
        EXPLAINERS["kernel_shap"]()(seer, torch.rand(1, 3, 40, 40), torch.zeros(1).long())


def test_a_layer_that_defeats_a_method_is_told(
    seer: AttentionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defeated(*_: object, **__: object) -> None:
        raise AssertionError("A Module ReLU() was detected that is used more than once")

    monkeypatch.setattr("captum.attr.DeepLift.attribute", defeated)
    seer.backbone.name = "resnet18"
    with pytest.raises(UserError, match=r"deep_lift cannot be used on resnet18: A Module ReLU"):
        DeepLift()(seer, torch.rand(1, 3, 40, 40), torch.zeros(1).long())


class TestUpsample:
    def test_each_cell_stays_over_its_own_pixels(self) -> None:
        for y in range(3):
            for x in range(5):
                cell = torch.zeros(1, 3, 5)
                cell[0, y, x] = 1
                grown = upsample(cell, 21, 35)[0]
                assert grown[7 * y + 3, 7 * x + 3] == grown.max()
                rows, columns = (grown == grown.max()).nonzero().T  # at the border a cell is flat
                assert set((rows // 7).tolist()) == {y}
                assert set((columns // 7).tolist()) == {x}

    def test_mirrors_like_its_map(self) -> None:
        heatmaps = torch.rand(2, 3, 5)
        assert_close(upsample(heatmaps.flip(-1), 31, 29), upsample(heatmaps, 31, 29).flip(-1))
