"""Poolings that depend on the classes, on positions, or on earlier layers of the backbone."""

import math

import pytest
import torch
from timm.layers import AttentionPool2d
from torch import Tensor, nn
from torch.testing import assert_close

from tests.pooling.test_pooling import B, C, H, K, W, compare, randomize
from tests.pooling.test_pooling_family import Map, dot, places, softmax
from vision_attn.core.errors import UserError
from vision_attn.pooling.average import Average
from vision_attn.pooling.base import Channels
from vision_attn.pooling.clip import ClipAttention
from vision_attn.pooling.concatenate import upsample
from vision_attn.pooling.csra import ClassSpecificResidualAttention
from vision_attn.pooling.global_local import GlobalLocal
from vision_attn.pooling.jetley import Jetley


class TestCsra:
    def scores_by_hand(self, vector: Tensor, features: Tensor) -> Map:
        """Scores <w, x_i> / |w| of one image, in plain Python loops."""
        direction = vector.tolist()
        length = math.sqrt(dot(direction, direction))
        return places(lambda y, x: dot(direction, features[:, y, x].tolist()) / length)

    @pytest.mark.parametrize("heads", [1, 2, 4])
    def test_logits_match_the_paper(self, heads: int) -> None:
        temperatures = {1: [1], 2: [1, 99], 4: [1, 2, 4, 99]}[
            heads
        ]  # 99 means max, as in the paper's code
        pooling = randomize(
            ClassSpecificResidualAttention(Channels(C, classes=K), heads, attention=0.3)
        )
        head = pooling.make_head(K).double()
        features = torch.randn(B, C, H, W, dtype=torch.float64)
        logits = head(pooling(features).context)
        for image in range(B):
            for c in range(K):
                expected = 0.0
                for h, temperature in enumerate(temperatures):
                    scores = self.scores_by_hand(pooling.classes[h * K + c], features[image])
                    flat = [s for row in scores for s in row]
                    mean = sum(flat) / len(flat)
                    if temperature == 99:
                        attended = max(flat)
                    else:
                        total = sum(math.exp(temperature * s) for s in flat)
                        attended = sum(math.exp(temperature * s) * s for s in flat) / total
                    expected += mean + 0.3 * attended
                assert logits[image, c].item() == pytest.approx(expected, abs=1e-10)

    def test_each_class_attends_to_its_own_features(self) -> None:
        pooling = ClassSpecificResidualAttention(Channels(2, classes=2), heads=2, attention=9.0)
        pooling.classes.data = torch.eye(2).repeat(2, 1)
        features = torch.zeros(1, 2, 3, 3)
        features[0, 0, 0, 0] = features[0, 1, 2, 2] = 5.0
        by_class = pooling(features).weights.view(2, 2, 9).mean(0)
        assert by_class.argmax(1).tolist() == [0, 8]

    def test_the_head_has_fixed_weights_that_sum(self) -> None:
        pooling = ClassSpecificResidualAttention(Channels(C, classes=K))
        head = pooling.make_head(K)
        assert not head.weight.requires_grad
        assert_close(head(torch.arange(4.0 * K).view(1, -1)), torch.tensor([[18.0, 22.0, 26.0]]))

    def test_heads_not_in_the_paper_are_refused(self) -> None:
        with pytest.raises(UserError, match="heads must be 1, 2, 4, 6 or 8, not 3"):
            ClassSpecificResidualAttention(Channels(C, classes=K), heads=3)

    def test_negative_attention_is_refused(self) -> None:
        with pytest.raises(UserError, match="attention must be at least 0, not -1"):
            ClassSpecificResidualAttention(Channels(C, classes=K), attention=-1)


class TestClip:
    def test_half_precision_on_another_grid(self) -> None:
        pooling = ClipAttention(C, heads=3, grid=3)
        features = torch.randn(B, C, H, W)
        exact = pooling(features).context
        approximate = pooling.bfloat16()(features.bfloat16()).context
        assert (approximate - exact).abs().max() < 0.05 * exact.abs().max()

    def test_a_grid_of_zero_places_is_refused(self) -> None:
        with pytest.raises(UserError, match="grid must be at least 1, not 0"):
            ClipAttention(C, grid=0)

    def test_weights_match_plain_loops(self) -> None:
        pooling = randomize(ClipAttention(C, heads=3, grid=H))
        width = C // 3
        positions = pooling.positions_on(torch.Size((H, W)))

        def by_hand(features: Tensor, head: int) -> Map:
            rows = range(head * width, (head + 1) * width)
            mean = (features.mean((1, 2)) + pooling.mean_place).tolist()
            bias = pooling.query.bias.tolist()
            query = [dot(pooling.query.weight[row].tolist(), mean) + bias[row] for row in rows]

            def score(token: list[float]) -> float:
                key = [dot(pooling.key.weight[row].tolist(), token) for row in rows]
                return dot(query, key) / math.sqrt(width)

            exponentials = places(
                lambda y, x: math.exp(score((features[:, y, x] + positions[:, y, x]).tolist()))
            )
            of_mean = math.exp(score(mean))
            total = of_mean + sum(sum(row) for row in exponentials)
            return places(lambda y, x: (exponentials[y][x] + of_mean / (H * W)) / total)

        compare(pooling, by_hand)

    @pytest.mark.parametrize(("grid", "size"), [((5, 5), (5, 5)), ((5, 5), (H, W))])
    def test_context_without_positions_matches_timm(
        self, grid: tuple[int, int], size: tuple[int, int]
    ) -> None:
        pooling = randomize(ClipAttention(C, heads=3, grid=grid[0]))
        theirs = AttentionPool2d(C, feat_size=grid, out_features=0, num_heads=3, qkv_separate=True)
        nn.init.zeros_(pooling.places)
        nn.init.zeros_(pooling.mean_place)
        theirs.load_state_dict(
            {
                "q.weight": pooling.query.weight,
                "q.bias": pooling.query.bias,
                "k.weight": pooling.key.weight,
                "k.bias": torch.randn(C),  # cancels in the softmax
                "v.weight": pooling.value.weight,
                "v.bias": pooling.value.bias,
                "pos_embed": torch.zeros(1 + grid[0] * grid[1], C),
            }
        )
        features = torch.randn(B, C, *size, dtype=torch.float64)
        assert_close(pooling(features).context, theirs.double()(features))

    def test_weights_with_positions_match_timm(self) -> None:
        """If values do not depend on positions, timm's context is ours."""
        pooling = randomize(ClipAttention(C, heads=1, grid=5))
        theirs = AttentionPool2d(C, feat_size=5, out_features=0, num_heads=1, qkv_separate=True)
        tokens = pooling.places.flatten(1).T
        theirs.load_state_dict(
            {
                "q.weight": pooling.query.weight,
                "q.bias": pooling.query.bias,
                "k.weight": pooling.key.weight,
                "k.bias": torch.zeros(C),
                "v.weight": pooling.value.weight,
                "v.bias": pooling.value.bias,
                "pos_embed": torch.cat([pooling.mean_place.unsqueeze(0), tokens]),
            }
        )
        features = torch.randn(B, C, 5, 5, dtype=torch.float64)
        # Positions lie in the null space of the projection: values depend on features alone.
        projection = torch.zeros(C, C, dtype=torch.float64)
        projection[:, : C // 2] = torch.randn(C, C // 2)
        pooling.value.weight.data = projection
        for positions in (pooling.places, pooling.mean_place):
            positions[: C // 2] = 0
        theirs = theirs.double()
        theirs.v.weight.data = projection
        theirs.pos_embed.data[:, : C // 2] = 0
        assert_close(pooling(features).context, theirs(features))


class TestJetley:
    widths = Channels(C, earlier_channels=(5, 8))

    def test_dot_product_matches_plain_loops(self) -> None:
        pooling = randomize(Jetley(self.widths, layers=2, compatibility="dot_product"))
        features, earlier = torch.randn(B, C, H, W).double(), torch.randn(B, 8, H, W).double()
        pooled = pooling(features, earlier)  # widths 8 and 12: 2 and 3 heads of 4 channels
        assert pooled.weights.shape == (B, 5, H, W)
        matrix = pooling.compatibility[0].match.weight
        for image in range(B):
            mean = features[image].mean((1, 2)).tolist()
            projected = [dot(row.tolist(), mean) for row in matrix]
            for local, query, head in ((earlier, projected, 0), (features, mean, 2)):
                products = torch.einsum("c,chw->hw", torch.tensor(query).double(), local[image])
                scores = products.tolist()
                assert_close(pooled.weights[image, head], torch.tensor(softmax(scores)).double())

    def test_parametrized_matches_plain_loops_with_the_global_vector(self) -> None:
        pooling = randomize(Jetley(Channels(C), layers=1))

        def by_hand(features: Tensor, head: int) -> Map:
            mean = features.mean((1, 2))
            query = pooling.compatibility[0].query[0].tolist()
            return softmax(places(lambda y, x: dot(query, (features[:, y, x] + mean).tolist())))

        compare(pooling, by_hand)

    def test_layers_are_upsampled_to_the_finest_grid(self) -> None:
        pooling = randomize(Jetley(self.widths, layers=3))
        grids = [(5, 4 * H, 4 * W - 1), (8, 2 * H, 2 * W), (C, H, W)]
        first, second, features = (torch.randn(B, *shape).double() for shape in grids)
        pooled = pooling(features, first, second)
        assert pooled.weights.shape[-2:] == (4 * H, 4 * W - 1)
        global_vector = features.mean((2, 3))
        contexts = []
        for local, score in zip((first, second, features), pooling.compatibility, strict=True):
            scores = score(local, global_vector).flatten(2)
            contexts.append((scores.softmax(2) * local.flatten(2)).sum(2))
        assert_close(pooled.context, torch.cat(contexts, 1))

    def test_too_many_layers_are_refused(self) -> None:
        with pytest.raises(UserError, match="layers must be 1 to 3 with this backbone, not 4"):
            Jetley(self.widths, layers=4)


def test_upsampling_keeps_the_context() -> None:
    pooled = Average(C)(torch.randn(B, C, H, W).double())
    for grid in ((H, W), (2 * H, 3 * W), (H + 2, W + 3)):
        upsampled = upsample(pooled, *grid)
        assert upsampled.weights.shape[-2:] == grid
        assert_close(upsampled.context, pooled.context)


def test_global_local_passes_earlier_layers_to_its_poolings() -> None:
    pooling = randomize(
        GlobalLocal(
            Channels(C, classes=K, earlier_channels=(8,)),
            global_pooling=ClassSpecificResidualAttention,
            local_pooling=Jetley,
        )
    )
    features, earlier = torch.randn(B, C, H, W).double(), torch.randn(B, 8, 2 * H, 2 * W).double()
    pooled = pooling(features, earlier)
    global_pooled = pooling.global_pooling(features)
    local_pooled = pooling.local_pooling(features, earlier)
    assert_close(pooled.context, torch.cat([global_pooled.context, local_pooled.context], 1))
