"""Every pooling satisfies the interface, and matches its paper's formula in plain Python loops."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.conftest import POOLINGS
from vision_attn.core.errors import UserError
from vision_attn.pooling.average import Average
from vision_attn.pooling.base import Channels, Pooling
from vision_attn.pooling.global_attention import GlobalAttention
from vision_attn.pooling.global_local import GlobalLocal
from vision_attn.pooling.local_gaussian import LocalGaussian
from vision_attn.pooling.local_window import LocalWindow

B, C, H, W, K = 2, 12, 5, 7, 3  # all different; C is divisible by the default number of heads
EARLIER = 8  # width of the stage before the last


def randomize(pooling: Pooling) -> Pooling:
    """Randomize the parameters, so that attention is far from uniform."""
    for parameter in pooling.parameters():
        nn.init.normal_(parameter, std=0.7)
    return pooling.double().requires_grad_(False)


def build(name: str, channels: int = C) -> Pooling:
    return POOLINGS[name](Channels(channels, classes=K, earlier_channels=(EARLIER,)))


def maps(pooling: Pooling, grid: tuple[int, int] = (H, W), scale: int = 1) -> list[Tensor]:
    """Random inputs of a pooling: the last features, then the earlier feature maps that it uses."""
    height, width = grid
    features = [torch.randn(B, C, height, width, dtype=torch.float64)]
    if pooling.earlier_layers:
        earlier = torch.randn(B, EARLIER, scale * height, scale * width, dtype=torch.float64)
        features.append(earlier)
    return features


@pytest.mark.parametrize("name", POOLINGS)
class TestInterface:
    @pytest.mark.parametrize("scale", [1, 2, 3])
    @pytest.mark.parametrize("grid", [(H, W), (1, 2), (11, 3), (4, 4)])
    def test_weights_are_nonnegative_and_sum_to_one(
        self, name: str, grid: tuple[int, int], scale: int
    ) -> None:
        pooling = randomize(build(name))
        pooled = pooling(*maps(pooling, grid, scale))
        finest = tuple(scale * side for side in grid) if pooling.earlier_layers else grid
        assert pooled.weights.shape[-2:] == pooled.values.shape[-2:] == finest
        assert (pooled.weights >= 0).all()
        assert_close(pooled.weights.sum((-2, -1)), torch.ones_like(pooled.weights[..., 0, 0]))

    def test_context_is_the_weighted_sum(self, name: str) -> None:
        pooling = randomize(build(name))
        pooled = pooling(*maps(pooling))
        heads, width = pooled.values.shape[1:3]
        expected = torch.zeros(B, heads, width, dtype=torch.float64)
        for y in range(H):
            for x in range(W):
                expected += pooled.weights[:, :, None, y, x] * pooled.values[..., y, x]
        assert pooled.context.shape == (B, pooling.context_channels)
        assert_close(pooled.context, expected.flatten(1))

    @pytest.mark.parametrize(
        ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)]
    )
    def test_evidence_sums_to_the_logits(
        self, name: str, dtype: torch.dtype, tolerance: float
    ) -> None:
        pooling = randomize(build(name)).to(dtype)
        head = pooling.make_head(K).to(dtype)
        pooled = pooling(*(features.to(dtype) for features in maps(pooling, scale=2)))
        logits = head(pooled.context)
        total = pooled.evidence(head.weight).sum((-2, -1)) + head.bias
        assert (total - logits).abs().max() <= tolerance * logits.abs().max()

    def test_values_do_not_mix_places(self, name: str) -> None:
        pooling = randomize(build(name))
        features = maps(pooling)
        changed = [each.clone() for each in features]
        for each in changed:
            each[..., 2, 3] += 1
        difference = (pooling(*changed).values - pooling(*features).values).abs().sum((0, 1, 2))
        assert difference[2, 3] > 0
        difference[2, 3] = 0
        assert difference.max() < 1e-12

    def test_gradients_match_finite_differences(self, name: str) -> None:
        pooling = randomize(build(name, channels=4))
        inputs = [torch.randn(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)]
        if pooling.earlier_layers:
            inputs.append(torch.randn(1, EARLIER, 4, 6, dtype=torch.float64, requires_grad=True))
        assert torch.autograd.gradcheck(lambda *x: pooling(*x).context, inputs)

    def test_weights_sum_to_one_under_autocast(self, name: str) -> None:
        pooling = build(name)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = pooling(*(features.float() for features in maps(pooling)))
        assert_close(pooled.weights.sum((-2, -1)), torch.ones_like(pooled.weights[..., 0, 0]))

    def test_half_precision_is_close_to_float32(self, name: str) -> None:
        pooling = build(name).eval()
        features = [each.float() for each in maps(pooling)]
        exact = pooling(*features).context
        with torch.autocast("cpu", dtype=torch.bfloat16):
            approximate = pooling(*(each.bfloat16() for each in features)).context
        # Rounding can move a place across the hard edge of a window, which changes a head.
        differences, largest = (approximate - exact).abs(), exact.abs().max()
        assert differences.max() < 0.2 * largest
        assert differences.quantile(0.75) < 0.01 * largest

    def test_memory_layout_does_not_matter(self, name: str) -> None:
        pooling = randomize(build(name))
        features = maps(pooling)
        other = [each.contiguous(memory_format=torch.channels_last) for each in features]
        assert_close(pooling(*other).context, pooling(*features).context)


def layer_norm(vector: list[float], norm: nn.LayerNorm) -> list[float]:
    mean = sum(vector) / len(vector)
    variance = sum((v - mean) ** 2 for v in vector) / len(vector)
    scale = 1 / math.sqrt(variance + norm.eps)
    return [
        (v - mean) * scale * float(w) + float(b)
        for v, w, b in zip(vector, norm.weight, norm.bias, strict=True)
    ]


def scores_by_hand(features: Tensor, query: Tensor, norm: nn.LayerNorm) -> list[list[float]]:
    """Scores <q, LN(x_i)> / sqrt(C) of one image, in plain Python loops."""
    channels, height, width = features.shape
    result = []
    for y in range(height):
        row = []
        for x in range(width):
            key = layer_norm(features[:, y, x].tolist(), norm)
            dot = sum(q * k for q, k in zip(query.tolist(), key, strict=True))
            row.append(dot / math.sqrt(channels))
        result.append(row)
    return result


def compare(pooling: Pooling, by_hand: Callable[[Tensor, int], list[list[float]]]) -> None:
    """Compare the weights of each image and head with `by_hand(features, head)`."""
    features = torch.randn(B, C, H, W, dtype=torch.float64)
    weights = pooling(features).weights
    for image in range(B):
        for head in range(weights.shape[1]):
            expected = torch.tensor(by_hand(features[image], head), dtype=torch.float64)
            assert_close(weights[image, head], expected)


def test_average_matches_plain_loops() -> None:
    compare(Average(C), lambda features, head: [[1 / (H * W)] * W for _ in range(H)])


def test_global_attention_matches_plain_loops() -> None:
    pooling = randomize(GlobalAttention(C, heads=3))

    def by_hand(features: Tensor, head: int) -> list[list[float]]:
        scores = scores_by_hand(features, pooling.queries[head], pooling.keys.norm)
        total = sum(math.exp(s) for row in scores for s in row)
        return [[math.exp(s) / total for s in row] for row in scores]

    compare(pooling, by_hand)


def test_local_gaussian_matches_plain_loops() -> None:
    pooling = randomize(LocalGaussian(C, heads=3))

    def by_hand(features: Tensor, head: int) -> list[list[float]]:
        predictor = pooling.windows
        mean = features.mean((1, 2))
        hidden = torch.tanh(predictor.hidden.weight @ mean + predictor.hidden.bias)
        center = torch.sigmoid(predictor.center.weight @ hidden + predictor.center.bias)
        p_y, p_x = float(center[2 * head]) * (H - 1), float(center[2 * head + 1]) * (W - 1)
        radius = math.exp(float(predictor.log_radius[head]))
        s_y, s_x = max(radius * H / 2, 0.5), max(radius * W / 2, 0.5)
        scores = scores_by_hand(features, pooling.queries[head], pooling.keys.norm)
        unnormalized = [[0.0] * W for _ in range(H)]
        for y in range(H):
            for x in range(W):
                if abs(y - p_y) <= 2 * s_y and abs(x - p_x) <= 2 * s_x:
                    window = math.exp(-((y - p_y) ** 2) / (2 * s_y**2))
                    window *= math.exp(-((x - p_x) ** 2) / (2 * s_x**2))
                    unnormalized[y][x] = math.exp(scores[y][x]) * window
        total = sum(sum(row) for row in unnormalized)
        return [[value / total for value in row] for row in unnormalized]

    compare(pooling, by_hand)


def test_local_window_matches_plain_loops() -> None:
    side = 2
    pooling = randomize(LocalWindow(C, heads=3, window=side))

    def by_hand(features: Tensor, head: int) -> list[list[float]]:
        norm = pooling.keys.norm
        place = scores_by_hand(features, pooling.place_queries[head], norm)
        window_query = pooling.window_queries[head].tolist()
        within = [[0.0] * W for _ in range(H)]
        window_score = {}
        for top in range(0, H, side):
            for left in range(0, W, side):
                cells = [
                    (y, x)
                    for y in range(top, min(top + side, H))
                    for x in range(left, min(left + side, W))
                ]
                total = sum(math.exp(place[y][x]) for y, x in cells)
                mean_key = [0.0] * C
                for y, x in cells:
                    within[y][x] = math.exp(place[y][x]) / total
                    key = layer_norm(features[:, y, x].tolist(), norm)
                    mean_key = [m + within[y][x] * k for m, k in zip(mean_key, key, strict=True)]
                dot = sum(q * k for q, k in zip(window_query, mean_key, strict=True))
                window_score[top, left] = math.exp(dot / math.sqrt(C))
        total_score = sum(window_score.values())
        return [
            [
                within[y][x] * window_score[y - y % side, x - x % side] / total_score
                for x in range(W)
            ]
            for y in range(H)
        ]

    compare(pooling, by_hand)


def test_global_local_concatenates_both_poolings() -> None:
    pooling = randomize(GlobalLocal(C))
    features = torch.randn(B, C, H, W, dtype=torch.float64)
    pooled = pooling(features)
    global_pooled, local_pooled = pooling.global_pooling(features), pooling.local_pooling(features)
    assert_close(pooled.weights, torch.cat([global_pooled.weights, local_pooled.weights], 1))
    assert_close(pooled.context, torch.cat([global_pooled.context, local_pooled.context], 1))


def test_global_local_splits_heads_of_different_widths() -> None:
    pooling = randomize(
        GlobalLocal(C, global_pooling=Average, local_pooling=lambda c: LocalWindow(c, heads=3))
    )
    features = torch.randn(B, C, H, W, dtype=torch.float64)
    pooled = pooling(features)
    assert pooled.weights.shape[1] == 6  # one head of 12 channels as 3 of 4, and 3 more
    global_pooled, local_pooled = pooling.global_pooling(features), pooling.local_pooling(features)
    assert_close(pooled.context, torch.cat([global_pooled.context, local_pooled.context], 1))


def test_a_strong_distant_place_does_not_change_a_local_window() -> None:
    pooling = LocalGaussian(C, heads=4).double()
    nn.init.zeros_(pooling.windows.center.weight)
    nn.init.constant_(pooling.windows.log_radius, math.log(0.3))
    features = torch.randn(1, C, 12, 12, dtype=torch.float64)
    before = pooling(features).weights
    features[..., 11, 11] = 100 * pooling.queries[3].detach()
    after = pooling(features).weights
    assert_close(after[:, 0], before[:, 0])  # the head at the upper left is unaffected
    assert (after[:, 3] - before[:, 3]).abs().max() > 1e-3


@pytest.mark.parametrize("build", [GlobalAttention, LocalGaussian, LocalWindow])
def test_heads_must_divide_channels(build: type[Pooling]) -> None:
    with pytest.raises(UserError, match=r"5 heads do not divide .* 12 channels; heads can be 1, 2"):
        build(C, 5)  # type: ignore[call-arg]
    build(C, 6)  # type: ignore[call-arg]
