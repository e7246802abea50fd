"""Attention windows (`Pooling.windows_of`) of the local poolings."""

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

LOCAL = {"global_local", "local_gaussian", "local_window", "neighborhood", "two_stages"}


def covered_places(window: Window, height: int, width: int) -> Tensor:
    """Mask (h, w) of the places of a grid whose centers lie in a window."""
    (y, x), (half_height, half_width) = window.center, window.reach
    rows = (torch.arange(height) + 0.5) / height - y
    columns = (torch.arange(width) + 0.5) / width - x
    inside_rows, inside_columns = (
        rows.abs() <= half_height + 1e-5,
        columns.abs() <= half_width + 1e-5,
    )
    return inside_rows.unsqueeze(1) & inside_columns


def with_fixed_center(pooling: LocalGaussian, y: float, x: float, radius: float) -> LocalGaussian:
    """Give all heads the same center, for every image."""
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


def test_a_predicted_window_matches_hand_computed_numbers() -> None:
    """On 5 x 9 places, the center is at row .25 * 4 = 1 and column .75 * 8 = 6, counted from 0."""
    pooling = with_fixed_center(LocalGaussian(8, heads=1), 0.25, 0.75, radius=0.4)
    ((window,),) = pooling.windows_of(torch.rand(1, 8, 5, 9))
    assert window.heads == (0,)
    assert window.center == pytest.approx((1.5 / 5, 6.5 / 9))
    assert window.sigma == pytest.approx((0.2, 0.2))  # D/2
    assert window.reach == pytest.approx((0.4, 0.4))


def test_sigma_of_a_predicted_window_is_at_least_half_a_cell() -> None:
    pooling = with_fixed_center(LocalGaussian(8, heads=1), 0.5, 0.5, radius=0.01)
    ((window,),) = pooling.windows_of(torch.rand(1, 8, 5, 10))
    assert window.sigma == pytest.approx((0.5 / 5, 0.5 / 10))
    assert window.reach == pytest.approx((1 / 5, 1 / 10))


def test_weights_are_positive_exactly_inside_the_window() -> None:
    pooling = LocalGaussian(8, heads=4)
    nn.init.constant_(pooling.windows.log_radius, math.log(0.3))
    features = torch.randn(3, 8, 11, 7)
    weights = pooling(features).weights
    for image, windows in enumerate(pooling.windows_of(features)):
        for window in windows:
            (head,) = window.heads
            assert torch.equal(weights[image, head] > 0, covered_places(window, 11, 7))


def test_fixed_windows_match_hand_computed_numbers() -> None:
    """3 x 5 places give two rows of three 2 x 2 windows; those at the edges are smaller."""
    windows, of_second_image = LocalWindow(8, heads=2, window=2).windows_of(torch.rand(2, 8, 3, 5))
    assert windows == of_second_image
    assert {window.heads for window in windows} == {(0, 1)}
    masks = [covered_places(window, 3, 5) for window in windows]
    assert [int(mask.sum()) for mask in masks] == [4, 4, 2, 2, 2, 1]
    assert torch.stack(masks).sum(0).eq(1).all()
    assert windows[2].center == pytest.approx((1 / 3, 4.5 / 5))
    assert windows[2].reach == pytest.approx((1 / 3, 0.5 / 5))


def test_the_neighborhood_of_the_place_with_the_largest_weight() -> None:
    pooling = Neighborhood(4, heads=1, kernel_size=3)
    nn.init.constant_(pooling.queries, 0.0)
    pooling.queries.data[0, 0] = 9.0
    features = torch.zeros(1, 4, 5, 7)
    features[0, 0, 1, 4] = 3.0
    ((window,),) = pooling.windows_of(features)
    assert window.center == pytest.approx((1.5 / 5, 4.5 / 7))
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[0:3, 3:6] = True
    assert torch.equal(covered_places(window, 5, 7), expected)


def test_identical_windows_are_merged_for_drawing() -> None:
    here, there = ((0.5, 0.5), (0.1, 0.1), None, "a"), ((0.2, 0.5), (0.1, 0.1), None, "a")
    drawn = merged([Window((0,), *here), Window((1,), *there), Window((2,), *here)])
    assert [window.heads for window in drawn] == [(0, 2), (1,)]


def test_concatenated_poolings_renumber_the_heads_of_windows() -> None:
    """One head of 12 channels becomes three of 4; the heads with windows follow them."""

    def three_windows(channels: Channels) -> Pooling:
        return LocalGaussian(channels, heads=3)

    features = torch.rand(1, 12, 5, 7)
    one_local = GlobalLocal(Channels(12), global_pooling=Average, local_pooling=three_windows)
    assert [window.heads for window in one_local.windows_of(features)[0]] == [(3,), (4,), (5,)]
    both_local = GlobalLocal(
        Channels(12),
        global_pooling=lambda c: LocalGaussian(c, heads=1),
        local_pooling=three_windows,
    )
    windows = both_local.windows_of(features)[0]
    assert [window.heads for window in windows] == [(0, 1, 2), (3,), (4,), (5,)]
    weights = both_local(features).weights
    for window in windows:
        for head in window.heads:
            assert torch.equal(weights[0, head] > 0, covered_places(window, 5, 7))
