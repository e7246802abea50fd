"""Test explanation metrics against values by hand, on models whose logits are pixel sums."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.transforms.functional import gaussian_blur

from vision_attn.core.errors import UserError
from vision_attn.core.heatmap import completeness_error
from vision_attn.core.registry import available
from vision_attn.evaluation.benchmark import evaluate_explainer, prepare, summary
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.evidence import Evidence
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, explain_batch
from vision_attn.metrics.explanation.deletion import Deletion
from vision_attn.metrics.explanation.energy import Energy
from vision_attn.metrics.explanation.grid_pointing import GridPointing
from vision_attn.metrics.explanation.insertion import Insertion
from vision_attn.metrics.explanation.perturbation import most_relevant_first
from vision_attn.metrics.explanation.pointing_game import PointingGame
from vision_attn.metrics.explanation.single_deletion import SingleDeletion
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.average import Average

METRICS = available(ExplanationMetric)
PLAIN = 0.25  # the mean color, used as baseline


class Pixels(nn.Module):
    """A backbone whose grid cells are the pixels themselves."""

    channels = 3
    earlier_channels = ()
    name = "pixels"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), PLAIN))
        self.last_grid = nn.Identity()

    def grids(self, images: Tensor, earlier: int) -> list[Tensor]:
        return [self.last_grid(images)]


def pixel_sum_model(side: int, classes: int = 2, weight: float = 1.0) -> AttentionClassifier:
    """Make a model: logit 0 is `weight` times the sum of channel 0 above baseline, others 0."""
    model = AttentionClassifier(Pixels(), Average, classes)  # type: ignore[arg-type]
    nn.init.zeros_(model.head.bias)
    nn.init.zeros_(model.head.weight)
    model.head.weight.data[0, 0] = weight * side**2
    model.head.bias.data[0] = -PLAIN * weight * side**2  # a baseline image has logit 0
    return model.eval().requires_grad_(False)


def first_channel(values: Tensor) -> Tensor:
    """Make images (B, 3, h, w) whose first channel is the baseline plus `values`."""
    images = torch.full((len(values), 3, *values.shape[-2:]), PLAIN)
    images[:, 0] += values
    return images


def make_batch(values: Tensor, masks: Tensor | None = None) -> EvaluationBatch:
    model = pixel_sum_model(values.shape[-1])
    return EvaluationBatch(
        model, first_channel(values), torch.zeros(len(values), dtype=torch.long), masks
    )


class TestPerturbation:
    image = torch.tensor([[[4.0, 2.0], [1.0, 0.0]]])  # logits by step: 7, 3, 1, 0, 0

    def test_deletion_by_hand(self) -> None:
        curve = torch.sigmoid(torch.tensor([7.0, 3.0, 1.0, 0.0, 0.0]))
        by_hand = (curve[0] / 2 + curve[1] + curve[2] + curve[3] + curve[4] / 2) / 4
        assert_close(Deletion().score(make_batch(self.image), self.image), by_hand.view(1))

    def test_the_reverse_order_scores_worse(self) -> None:
        batch = make_batch(self.image)
        curve = torch.sigmoid(torch.tensor([7.0, 7.0, 6.0, 4.0, 0.0]))
        by_hand = (curve[0] / 2 + curve[1] + curve[2] + curve[3] + curve[4] / 2) / 4
        assert_close(Deletion().score(batch, -self.image), by_hand.view(1))
        assert Deletion().score(batch, -self.image) > Deletion().score(batch, self.image)
        assert Deletion.higher_is_better is False

    def test_insertion_by_hand(self) -> None:
        image = torch.zeros(1, 4, 4)
        image[0, 0, 0] = 16.0
        blurred = gaussian_blur(first_channel(image), [3, 3], [1.0, 1.0])[0, 0]
        order = torch.arange(16.0)  # the pixels row by row
        heat = (16 - order).view(1, 4, 4)
        mixed = blurred.flatten() - PLAIN
        curve = [torch.sigmoid(mixed.sum())]
        for pixel in range(16):
            mixed[pixel] = image.flatten()[pixel]
            curve.append(torch.sigmoid(mixed.sum()))
        by_hand = (sum(curve) - (curve[0] + curve[-1]) / 2) / 16
        assert_close(Insertion().score(make_batch(image), heat), by_hand.view(1))

    def test_the_blur_at_224_pixels_matches_rise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []

        def blur(images: Tensor, kernel: list[int], sigma: list[float]) -> Tensor:
            seen.append((kernel, sigma))
            return images

        monkeypatch.setattr("vision_attn.metrics.explanation.insertion.gaussian_blur", blur)
        Insertion().score(make_batch(torch.rand(1, 224, 224)), torch.rand(1, 7, 7))
        assert seen == [([11, 11], [5.0, 5.0])]

    def test_ties_are_in_random_order(self) -> None:
        ranks = most_relevant_first(torch.zeros(2, 6, 6), 6, 6)
        assert sorted(ranks[0].tolist()) == list(range(36))
        assert_close(ranks[0], ranks[1])
        assert ranks[0].tolist() != list(range(36))


class TestSingleDeletion:
    def test_a_faithful_map_scores_one(self) -> None:
        values = torch.rand(3, 8, 8)
        batch = make_batch(values)
        cells = values.unflatten(1, (4, 2)).unflatten(3, (4, 2)).sum((2, 4))
        effects = SingleDeletion().prepare(batch).effects
        assert effects is not None
        assert_close(effects.measured, cells.flatten(1), rtol=1e-4, atol=1e-4)
        assert_close(SingleDeletion().score(batch, cells), torch.ones(3))
        assert_close(SingleDeletion().score(batch, -cells), -torch.ones(3))

    def test_a_constant_map_is_nan(self) -> None:
        assert (
            SingleDeletion()
            .score(make_batch(torch.rand(2, 8, 8)), torch.ones(2, 4, 4))
            .isnan()
            .all()
        )


def test_constant_maps_of_any_value_are_detected() -> None:
    """Upsampling leaves rounding errors in the last bit, which must not count as a maximum."""
    values = torch.linspace(0.1, 0.9, 50).view(-1, 1, 1)
    masks = torch.zeros(50, 32, 32, dtype=torch.bool)
    masks[:, :16, :16] = True
    batch = make_batch(torch.rand(50, 32, 32), masks)
    for side in (4, 5, 7):
        flat = values.expand(-1, side, side)
        assert_close(PointingGame().score(batch, flat), torch.full((50,), 0.25))
        assert SingleDeletion().score(batch, flat).isnan().all()


class TestMasks:
    def test_energy_and_pointing(self) -> None:
        masks = torch.zeros(3, 4, 4, dtype=torch.bool)
        masks[:2, :2] = True
        batch = make_batch(torch.rand(3, 4, 4), masks)
        heat = torch.zeros(3, 4, 4)
        heat[0, 0, 0], heat[0, 3, 3], heat[1, 3, 0] = 3.0, 1.0, 2.0
        assert_close(Energy().score(batch, heat)[:2], torch.tensor([0.75, 0.0]))
        assert_close(PointingGame().score(batch, heat)[:2], torch.tensor([1.0, 0.0]))
        for metric in (Energy(), PointingGame()):
            assert metric.score(batch, heat)[2].isnan()  # an empty mask

    def test_without_masks_raises_user_error(self) -> None:
        for metric in (Energy(), PointingGame()):
            assert metric.needs_masks
            with pytest.raises(UserError, match="needs object masks or boxes, and this data has"):
                metric.score(make_batch(torch.rand(1, 4, 4)), torch.rand(1, 4, 4))


@pytest.fixture
def colors() -> EvaluationBatch:
    """Single-color images, later ones brighter; four classes: one per channel, and darkness."""
    model = AttentionClassifier(Pixels(), Average, 4)  # type: ignore[arg-type]
    model.head.weight.data = torch.cat([torch.eye(3), torch.zeros(1, 3)])
    model.head.bias.data = torch.tensor([0.0, 0.0, 0.0, 0.05])
    images = torch.zeros(12, 3, 4, 4)
    targets = torch.arange(12) % 4
    for k in range(12):
        if targets[k] < 3:
            images[k, targets[k]] = 0.5 + k / 100
    return EvaluationBatch(model.eval(), images, targets)


def all_grids(batch: EvaluationBatch) -> EvaluationBatch:
    """Compose all grids at once."""
    (grids,) = batch.split(len(batch))
    return grids


class TestGridPointing:
    def test_evidence_points_to_its_own_image(self, colors: EvaluationBatch) -> None:
        metric = GridPointing(side=2)
        grids = replace(all_grids(metric.prepare(colors)), explain=Evidence())
        assert grids.images.shape == (12, 3, 8, 8)
        scores = metric.score(grids, explain_batch(grids))
        assert_close(scores[grids.targets < 3], torch.ones(36))
        assert_close(scores[grids.targets == 3], torch.zeros(12))  # darkness has no evidence

    def test_a_constant_map_scores_its_area(self, colors: EvaluationBatch) -> None:
        metric = GridPointing(side=2)
        grids = all_grids(metric.prepare(colors))
        for grid in ((8, 8), (2, 2), (5, 5)):  # cells of the last overlap two images
            assert_close(metric.score(grids, torch.ones(48, *grid)), torch.full((48,), 0.25))

    def test_a_grid_has_different_classes_at_their_masks(self, colors: EvaluationBatch) -> None:
        grids = all_grids(GridPointing(side=2).prepare(colors))
        for start in range(0, 48, 4):
            assert len(set(grids.targets[start : start + 4].tolist())) == 4
            for k in range(start, start + 4):
                own = grids.images[k // 4][:, grids.masks[k]]
                seen = own.mean(1).argmax() if own.max() > 0 else torch.tensor(3)
                assert seen == grids.targets[k]

    def test_splitting_yields_the_same_grids(self, colors: EvaluationBatch) -> None:
        batch = GridPointing(side=2).prepare(colors)
        assert len(batch) == 48
        together = all_grids(batch)
        parts = list(batch.split(10))
        assert [len(part) for part in parts] == [8] * 6
        assert_close(torch.cat([part.images for part in parts]), together.images)
        assert_close(torch.cat([part.targets for part in parts]), together.targets)
        assert torch.equal(torch.cat([part.masks for part in parts]), together.masks)

    def test_only_correctly_classified_images_are_used(self, colors: EvaluationBatch) -> None:
        targets = colors.targets.clone()
        targets[10] = 1  # the brightest image, with a wrong label
        batch = EvaluationBatch(colors.model, colors.images, targets)
        assert 10 not in GridPointing(side=2).prepare(batch).chosen
        assert 10 in GridPointing(side=2).prepare(colors).chosen

    def test_the_most_confident_images_come_first(self, colors: EvaluationBatch) -> None:
        first = GridPointing(side=2, grids=1).prepare(colors).chosen[0].tolist()
        assert {8, 9, 10} <= set(first)  # the brightest of each color

    def test_too_few_classes_raises_user_error(self, colors: EvaluationBatch) -> None:
        with pytest.raises(UserError, match="needs 9 classes with correct predictions.* are 4"):
            GridPointing(side=3).prepare(colors)


class TestEvaluateExplainer:
    def test_every_metric_scores_every_image(self, colors: EvaluationBatch) -> None:
        masks = torch.zeros(12, 4, 4, dtype=torch.bool)
        masks[:, :2] = True
        batch = EvaluationBatch(colors.model, colors.images, colors.targets, masks)
        metrics = {name: metric() for name, metric in METRICS.items()} | {"two": GridPointing(2)}
        groups, left_out = prepare(batch, metrics)
        assert list(left_out) == ["grid_pointing"]  # four classes cannot fill nine cells
        ticks: list[int] = []
        result = evaluate_explainer(Evidence(), groups, 5, lambda: ticks.append(1))
        assert set(result.scores) == set(metrics) - {"grid_pointing"}
        assert len(result.scores["energy"]) == 12
        assert len(result.scores["two"]) == 48
        assert len(ticks) == sum(batch.parts(5) for batch, _ in groups) == 3 + 12
        assert result.completeness_error is not None
        assert result.images_per_second is not None

    def test_metrics_that_lack_masks_are_left_out(self, colors: EvaluationBatch) -> None:
        groups, left_out = prepare(colors, {"energy": Energy(), "deletion": Deletion()})
        assert list(groups[0][1]) == ["deletion"]
        assert "--truth" in left_out["energy"]

    def test_an_unsupported_method_is_reported_as_failure(self, colors: EvaluationBatch) -> None:
        class Unsupported(Explainer):
            signed = True

            def __call__(self, *_: object) -> Tensor:
                raise UserError("not on this backbone")

        groups, _ = prepare(colors, {"deletion": Deletion()})
        assert (
            evaluate_explainer(Unsupported(), groups, 5, lambda: None).failure
            == "not on this backbone"
        )

    def test_the_completeness_error_is_relative_to_the_expected_sum(
        self, colors: EvaluationBatch
    ) -> None:
        images, targets = colors.images[:3], colors.targets[:3]
        maps = Evidence()(colors.model, images, targets).double()
        total = Evidence().expected_sum(colors.model, images, targets)
        assert total is not None
        assert_close(
            completeness_error(1.1 * maps, total.double()),
            torch.full((3,), 0.1).double(),
            rtol=0,
            atol=1e-5,
        )

    def test_summary_without_scored_images(self) -> None:
        assert summary(torch.tensor([float("nan")]))["images"] == 0
