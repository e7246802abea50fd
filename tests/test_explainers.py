"""Every explainer keeps the promise and finds evidence that was planted."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from vision_attn.catalog import catalog
from vision_attn.explainers.attention import Attention
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.evidence import Evidence
from vision_attn.explainers.integrated_gradients import IntegratedGradients
from vision_attn.metrics.base import Trial
from vision_attn.metrics.pointing_game import PointingGame
from vision_attn.model import AttentionClassifier
from vision_attn.pooling.global_attention import GlobalAttention
from vision_attn.upsampling import upsample

EXPLAINERS = catalog(Explainer)
SIDE, CELL = 5, 8
Build = Callable[..., AttentionClassifier]


class Mosaic(nn.Module):
    """A backbone one can see through: each cell's channels are its mean colours."""

    channels = 4
    finer = ()

    def __init__(self) -> None:
        super().__init__()
        self.last_grid = nn.Identity()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(images, CELL)
        return self.last_grid(torch.cat([cells, cells.mean(1, keepdim=True)], 1))

    def grids(self, images: Tensor, finer: int) -> list[Tensor]:
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


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_heat_falls_on_what_decided(
    name: str, seer: AttentionClassifier, planted: tuple[Tensor, Tensor]
) -> None:
    images, masks = planted
    targets = torch.zeros(6, dtype=torch.long)
    heatmaps = EXPLAINERS[name]()(seer, images, targets)
    assert PointingGame().measure(Trial(seer, images, targets, masks), heatmaps).min() == 1


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


def test_evidence_is_for_the_target_and_adds_up(tiny_model: Build) -> None:
    model, images = tiny_model().double(), torch.rand(3, 3, 32, 48, dtype=torch.float64)
    targets = torch.tensor([0, 2, 1])
    totals = Evidence()(model, images, targets).sum((1, 2)) + model.head.bias[targets]
    assert_close(totals, model(images)[torch.arange(3), targets])


def test_attention_maps_sum_to_one(tiny_model: Build) -> None:
    maps = Attention()(tiny_model(), torch.rand(3, 3, 32, 48), torch.zeros(3, dtype=torch.long))
    assert_close(maps.sum((1, 2)), torch.ones(3))


def test_integrated_gradients_add_up_to_the_rise(seer: AttentionClassifier) -> None:
    images = torch.rand(2, 3, SIDE * CELL, SIDE * CELL)
    targets = torch.tensor([0, 1])
    maps = IntegratedGradients()(seer, images, targets)
    rise = seer(images) - seer(seer.backbone.mean.expand_as(images))
    assert_close(maps.sum((1, 2)), rise[torch.arange(2), targets], rtol=0.05, atol=0.02)


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
