"""Attention over two stages: the formula in plain loops, and which settings are refused."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.pooling.test_pooling import EARLIER, B, C, H, W, layer_norm, randomize
from vision_attn.core.errors import UserError
from vision_attn.inference.explain import ExplanationRequest
from vision_attn.pooling.average import Average
from vision_attn.pooling.base import Channels, Pooled, head_names
from vision_attn.pooling.global_local import GlobalLocal
from vision_attn.pooling.jetley import Jetley
from vision_attn.pooling.two_stages import TwoStages, WideAttention

CHANNELS = Channels(C, earlier_channels=(5, EARLIER))


def randomized(heads: int = 3) -> TwoStages:
    pooling = TwoStages(CHANNELS, heads=heads)
    nn.init.normal_(pooling.earlier.mean)
    nn.init.uniform_(pooling.earlier.std, 0.5, 2.0)
    randomize(pooling)
    return pooling


def context_by_hand(attention: WideAttention, features: Tensor) -> list[float]:
    """The context of one image, place by place."""
    mean, std = attention.mean.flatten().tolist(), attention.std.flatten().tolist()
    rows, columns = features.shape[-2:]
    places = [
        [(features[c, y, x].item() - mean[c]) / std[c] for c in range(EARLIER)]
        for y in range(rows)
        for x in range(columns)
    ]
    context = []
    for query in attention.queries.tolist():
        scores = []
        for place in places:
            key = layer_norm(place, attention.keys.norm)
            scores.append(sum(q * k for q, k in zip(query, key, strict=True)) / math.sqrt(EARLIER))
        total = sum(math.exp(score) for score in scores)
        for channel in range(EARLIER):
            weighted = zip(scores, places, strict=True)
            context.append(sum(math.exp(s) * place[channel] for s, place in weighted) / total)
    return context


def test_the_context_matches_plain_loops() -> None:
    pooling = randomized()
    last = torch.randn(B, C, H, W, dtype=torch.float64)
    earlier = torch.randn(B, EARLIER, 2 * H - 1, 2 * W, dtype=torch.float64)
    context = pooling(last, earlier).context
    assert_close(context[:, : pooling.last.context_channels], pooling.last(last).context)
    for image in range(B):
        expected = context_by_hand(pooling.earlier, earlier[image])
        found = context[image, pooling.last.context_channels :]
        assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_evidence_of_both_stages_adds_up_exactly(scale: int) -> None:
    pooling = randomized()
    head = pooling.make_head(5).double()
    last = torch.randn(B, C, H, W, dtype=torch.float64)
    earlier = torch.randn(B, EARLIER, scale * H, scale * W, dtype=torch.float64)
    pooled = pooling(last, earlier)
    evidence = pooled.evidence(head.weight)
    assert evidence.shape == (B, 5, scale * H, scale * W)
    assert_close(evidence.sum((-2, -1)) + head.bias, head(pooled.context), rtol=1e-12, atol=1e-12)


def test_windows_are_those_of_the_last_stage() -> None:
    pooling = randomized()
    last = torch.randn(B, C, H, W, dtype=torch.float64)
    earlier = torch.randn(B, EARLIER, 2 * H, 2 * W, dtype=torch.float64)
    found, expected = pooling.windows_of(last, earlier), pooling.last.windows_of(last)
    assert [[one.center for one in image] for image in found] == [
        [one.center for one in image] for image in expected
    ]
    pooled = pooling(last, earlier)
    assert all(max(one.heads) < pooled.weights.shape[1] for image in found for one in image)


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="this backbone has a single stage"):
        TwoStages(Channels(C))
    for heads in (0, 65):
        with pytest.raises(UserError, match=f"heads must be 1 to 64, not {heads}"):
            TwoStages(CHANNELS, heads=heads)
    with pytest.raises(UserError, match="uses earlier ones itself"):
        TwoStages(CHANNELS, last=Jetley)


def test_the_pooling_of_the_last_stage() -> None:
    assert isinstance(TwoStages(CHANNELS).last, GlobalLocal)
    assert isinstance(TwoStages(CHANNELS, last=Average).last, Average)


def test_each_head_is_shown_once_although_wide_heads_are_cut() -> None:
    """Of 4 + 4 heads of 2 channels and 3 heads of 5 channels, all cut to 1 channel: 11 maps."""

    class Model(torch.nn.Module):
        def attend(self, images: torch.Tensor) -> Pooled:
            random = torch.Generator().manual_seed(0)
            features = torch.rand(len(images), 8, 3, 3, generator=random)
            return pooling(features, torch.rand(len(images), 5, 6, 6, generator=random))

        def head_names(self, images: torch.Tensor) -> list[str]:
            kinds = pooling.head_kinds(torch.rand(1, 8, 3, 3), torch.rand(1, 5, 6, 6))
            return head_names(self.attend(images).weights, kinds)

    pooling = TwoStages(Channels(8, earlier_channels=(5,)), heads=3).eval()
    assert Model().attend(torch.zeros(2, 3, 8, 8)).weights.shape[1] > 11
    request = ExplanationRequest.from_names(["a", "b"], ["attention"], None, None, 0, True, False)
    found: list[dict] = [{}, {}]
    request.add_heads(found, Model(), torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))
    assert [list(maps) for maps in found] == [[f"head.{k}" for k in range(1, 12)]] * 2
    kinds = ["global"] * 4 + ["window"] * 4 + ["earlier stage"] * 3
    names = [f"{kind} {k}" for k, kind in enumerate(kinds, 1)]
    assert [[heatmap.name for heatmap in maps.values()] for maps in found] == [names] * 2
