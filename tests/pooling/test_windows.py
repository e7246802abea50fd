"""Poolings tell the windows that their heads look through."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import POOLINGS
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.average import Average
from vision_attn.pooling.base import Channels, Pooling, Window
from vision_attn.pooling.global_local import GlobalLocal
from vision_attn.pooling.local_gaussian import LocalGaussian
from vision_attn.pooling.local_window import LocalWindow
from vision_attn.pooling.neighborhood import Neighborhood
from vision_attn.visualization.annotations import merged

LOCAL = {"global_local", "local_gaussian", "local_window", "neighborhood"}


def covers(window: Window, height: int, width: int) -> Tensor:
    """Which places of a grid have their middle in a window."""
    (y, x), (up, left) = window.center, window.reach
    rows = (torch.arange(height) + 0.5) / height - y
    columns = (torch.arange(width) + 0.5) / width - x
    return (rows.abs() <= up + 1e-5).unsqueeze(1) & (columns.abs() <= left + 1e-5)


def aimed(pooling: LocalGaussian, y: float, x: float, radius: float) -> LocalGaussian:
    """Every glimpse at one centre, whatever the image."""
    nn.init.zeros_(pooling.windows.center.weight)
    center = torch.logit(torch.tensor([y, x])).repeat(pooling.heads)
    pooling.windows.center.bias.data.copy_(center)
    nn.init.constant_(pooling.windows.log_radius, math.log(radius))
    return pooling


@pytest.mark.parametrize("name", POOLINGS)
def test_local_poolings_have_windows_and_others_have_none(
    name: str, tiny_model: Callable[..., AttentionClassifier]
) -> None:
    model = tiny_model(name)
    images = torch.rand(2, 3, 64, 96)
    windows = model.windows(images)
    assert len(windows) == 2
    assert all(windows) if name in LOCAL else not any(windows)
    heads = model.attend(images).weights.shape[1]
    assert {head for window in windows[0] for head in window.heads} <= set(range(heads))


def test_a_predicted_window_by_hand() -> None:
    """On 5 x 9 places: the centre at row .25 * 4 = 1 and column .75 * 8 = 6, counted from 0."""
    pooling = aimed(LocalGaussian(8, heads=1), 0.25, 0.75, radius=0.4)
    ((window,),) = pooling.windows_of(torch.rand(1, 8, 5, 9))
    assert window.heads == (0,)
    assert window.center == pytest.approx((1.5 / 5, 6.5 / 9))
    assert window.sigma == pytest.approx((0.2, 0.2))  # D/2
    assert window.reach == pytest.approx((0.4, 0.4))


def test_a_narrow_predicted_window_is_at_least_half_a_cell_wide() -> None:
    pooling = aimed(LocalGaussian(8, heads=1), 0.5, 0.5, radius=0.01)
    ((window,),) = pooling.windows_of(torch.rand(1, 8, 5, 10))
    assert window.sigma == pytest.approx((0.5 / 5, 0.5 / 10))
    assert window.reach == pytest.approx((1 / 5, 1 / 10))


def test_all_attention_is_inside_and_every_place_inside_has_some() -> None:
    pooling = LocalGaussian(8, heads=4)
    nn.init.constant_(pooling.windows.log_radius, math.log(0.3))
    features = torch.randn(3, 8, 11, 7)
    weights = pooling(features).weights
    for image, windows in enumerate(pooling.windows_of(features)):
        for window in windows:
            (head,) = window.heads
            assert torch.equal(weights[image, head] > 0, covers(window, 11, 7))


def test_fixed_windows_by_hand() -> None:
    """3 x 5 places in windows of 2 x 2: two rows of three, those at the edges smaller."""
    windows, again = LocalWindow(8, heads=2, window=2).windows_of(torch.rand(2, 8, 3, 5))
    assert windows == again
    assert {window.heads for window in windows} == {(0, 1)}
    areas = [covers(window, 3, 5) for window in windows]
    assert [int(area.sum()) for area in areas] == [4, 4, 2, 2, 2, 1]
    assert torch.stack(areas).sum(0).eq(1).all()
    assert windows[2].center == pytest.approx((1 / 3, 4.5 / 5))
    assert windows[2].reach == pytest.approx((1 / 3, 0.5 / 5))


def test_the_neighbours_of_the_strongest_place() -> None:
    pooling = Neighborhood(4, heads=1, kernel_size=3)
    nn.init.constant_(pooling.queries, 0.0)
    pooling.queries.data[0, 0] = 9.0
    features = torch.zeros(1, 4, 5, 7)
    features[0, 0, 1, 4] = 3.0
    ((window,),) = pooling.windows_of(features)
    assert window.center == pytest.approx((1.5 / 5, 4.5 / 7))
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[0:3, 3:6] = True
    assert torch.equal(covers(window, 5, 7), expected)


def test_windows_at_one_place_are_drawn_as_one() -> None:
    here, there = ((0.5, 0.5), (0.1, 0.1), None, "a"), ((0.2, 0.5), (0.1, 0.1), None, "a")
    drawn = merged([Window((0,), *here), Window((1,), *there), Window((2,), *here)])
    assert [window.heads for window in drawn] == [(0, 2), (1,)]


def test_side_by_side_heads_keep_their_windows() -> None:
    """One head of 12 channels beside three of 4 is three heads: the windows' are those after."""

    def parts(channels: Channels) -> Pooling:
        return LocalGaussian(channels, heads=3)

    features = torch.rand(1, 12, 5, 7)
    beside = GlobalLocal(Channels(12), global_pooling=Average, local_pooling=parts)
    assert [window.heads for window in beside.windows_of(features)[0]] == [(3,), (4,), (5,)]
    first = GlobalLocal(
        Channels(12), global_pooling=lambda c: LocalGaussian(c, heads=1), local_pooling=parts
    )
    found = first.windows_of(features)[0]
    assert [window.heads for window in found] == [(0, 1, 2), (3,), (4,), (5,)]
    weights = first(features).weights
    for window in found:
        for head in window.heads:
            assert torch.equal(weights[0, head] > 0, covers(window, 5, 7))
