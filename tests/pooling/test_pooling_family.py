"""Poolings from the literature match their papers in plain Python loops, and timm's own layers."""

import math

import pytest
import torch
from timm.layers import SimPool2d
from torch import Tensor
from torch.testing import assert_close

from tests.pooling.test_pooling import B, C, H, W, compare, layer_norm, randomize, scores_by_hand
from vision_attn.core.errors import UserError
from vision_attn.pooling.efficient_probing import EfficientProbing
from vision_attn.pooling.gated_attention import GatedAttention
from vision_attn.pooling.generalized_mean import GeneralizedMean
from vision_attn.pooling.global_attention import GlobalAttention
from vision_attn.pooling.maximum import Maximum
from vision_attn.pooling.neighborhood import Neighborhood
from vision_attn.pooling.simpool import SimPool

Map = list[list[float]]


def softmax(scores: Map) -> Map:
    total = sum(math.exp(s) for row in scores for s in row)
    return [[math.exp(s) / total for s in row] for row in scores]


def places(score: object) -> Map:
    """Evaluate a function of (y, x) at all places."""
    return [[float(score(y, x)) for x in range(W)] for y in range(H)]  # type: ignore[operator]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_maximum_is_max_pooling() -> None:
    features = torch.randn(B, C, H, W, dtype=torch.float64)
    pooled = Maximum(C)(features)
    assert_close(pooled.context, features.flatten(2).max(2).values)
    assert set(pooled.weights.unique().tolist()) == {0.0, 1.0}


def test_generalized_mean_matches_plain_loops() -> None:
    pooling = GeneralizedMean(C, power=2.5).double().requires_grad_(False)

    def by_hand(features: Tensor, head: int) -> Map:
        powers = places(lambda y, x: max(float(features[head, y, x]), 1e-6) ** 1.5)
        total = sum(sum(row) for row in powers)
        return [[value / total for value in row] for row in powers]

    compare(pooling, by_hand)


def test_generalized_mean_ranges_from_average_to_max_pooling() -> None:
    features = torch.rand(B, C, H, W, dtype=torch.float64)
    one = GeneralizedMean(C, power=1.0).double()(features)
    assert_close(one.context, features.mean((2, 3)))
    large = GeneralizedMean(C, power=3000.0).double()(features)
    assert_close(large.context, features.amax((2, 3)), rtol=1e-3, atol=1e-3)


def test_gated_attention_matches_plain_loops() -> None:
    pooling = randomize(GatedAttention(C, heads=3, hidden=5))

    def by_hand(features: Tensor, head: int) -> Map:
        def score(y: int, x: int) -> float:
            place = features[:, y, x].tolist()
            total = 0.0
            for unit in range(5):
                v, u = pooling.content.weight[unit, :, 0, 0], pooling.gate.weight[unit, :, 0, 0]
                content = math.tanh(dot(v.tolist(), place) + float(pooling.content.bias[unit]))
                gate = dot(u.tolist(), place) + float(pooling.gate.bias[unit])
                w = float(pooling.score.weight[head, unit, 0, 0])
                total += w * content / (1 + math.exp(-gate))
            return total

        return softmax(places(score))

    compare(pooling, by_hand)


def test_efficient_probing_matches_plain_loops() -> None:
    pooling = randomize(EfficientProbing(C, heads=3))

    def by_hand(features: Tensor, head: int) -> Map:
        query = pooling.queries[head].tolist()
        return softmax(places(lambda y, x: dot(query, features[:, y, x].tolist()) / math.sqrt(C)))

    compare(pooling, by_hand)
    features = torch.randn(B, C, H, W, dtype=torch.float64)
    matrix = pooling.value.weight[:, :, 0, 0]
    for y, x in ((0, 0), (3, 5)):
        expected = features[..., y, x] @ matrix.T
        assert_close(pooling(features).values[..., y, x].flatten(1), expected)


def test_simpool_matches_plain_loops() -> None:
    pooling = randomize(SimPool(C, heads=3))
    width = C // 3

    def by_hand(features: Tensor, head: int) -> Map:
        mean = features.mean((1, 2)).tolist()
        rows = range(head * width, (head + 1) * width)
        query = [dot(pooling.query.weight[row].tolist(), mean) for row in rows]

        def score(y: int, x: int) -> float:
            token = layer_norm(features[:, y, x].tolist(), pooling.norm.norm)
            key = [dot(pooling.key.weight[row].tolist(), token) for row in rows]
            return dot(query, key) / math.sqrt(width)

        return softmax(places(score))

    compare(pooling, by_hand)


@pytest.mark.parametrize("heads", [1, 3])
def test_simpool_matches_timms_context(heads: int) -> None:
    pooling = randomize(SimPool(C, heads))
    theirs = SimPool2d(C, num_heads=heads).double()
    theirs.load_state_dict(
        {
            "norm.weight": pooling.norm.norm.weight,
            "norm.bias": pooling.norm.norm.bias,
            "q.weight": pooling.query.weight,
            "k.weight": pooling.key.weight,
        }
    )
    features = torch.randn(B, C, H, W, dtype=torch.float64)
    assert pooling.norm.norm.eps == theirs.norm.eps
    assert_close(pooling(features).context, theirs(features))


def test_neighborhood_matches_plain_loops() -> None:
    pooling = randomize(Neighborhood(C, heads=3, kernel_size=3))

    def by_hand(features: Tensor, head: int) -> Map:
        scores = scores_by_hand(features, pooling.queries[head], pooling.keys.norm)

        def share(y: int, x: int) -> float:
            neighbors = [
                math.exp(scores[v][u])
                for v in range(max(y - 1, 0), min(y + 2, H))
                for u in range(max(x - 1, 0), min(x + 2, W))
            ]
            return math.exp(scores[y][x]) / sum(neighbors)

        shares = places(share)
        total = sum(sum(row) for row in shares)
        return [[value / total for value in row] for row in shares]

    compare(pooling, by_hand)


def test_a_strong_distant_place_dominates_global_attention_but_not_a_neighborhood() -> None:
    features = torch.randn(1, C, 9, 9, dtype=torch.float64)
    for build, robust in ((GlobalAttention, False), (Neighborhood, True)):
        pooling = build(C, heads=1).double().requires_grad_(False)
        pooling.queries[:] = 4 * torch.randn(1, C)
        changed = features.clone()
        changed[..., 8, 8] = pooling.queries[0]
        before, after = pooling(features).weights, pooling(changed).weights
        corner = (after[..., :4, :4].sum() / before[..., :4, :4].sum()).item()
        assert corner > 0.9 if robust else corner < 0.6


def test_an_even_kernel_size_is_refused() -> None:
    with pytest.raises(UserError, match="kernel_size must be odd and at least 1, not 4"):
        Neighborhood(C, kernel_size=4)
