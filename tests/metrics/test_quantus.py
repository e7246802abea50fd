"""Test explanation metrics against Quantus, on the same models, images and maps.

If the definition of Quantus differs, the test explains the difference and converts. Quantus has no
insertion, no grid pointing game, no single-deletion correlation and no MaxBoxAcc.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.metrics.test_metrics import PLAIN, Pixels
from vision_attn.explainers.evidence import Evidence
from vision_attn.metrics.explanation import infidelity, road
from vision_attn.metrics.explanation.base import EvaluationBatch, probabilities
from vision_attn.metrics.explanation.deletion import Deletion
from vision_attn.metrics.explanation.energy import Energy
from vision_attn.metrics.explanation.imputation import impute
from vision_attn.metrics.explanation.infidelity import Infidelity, least_error
from vision_attn.metrics.explanation.perturbation import most_relevant_first
from vision_attn.metrics.explanation.pointing_game import PointingGame
from vision_attn.metrics.explanation.randomization import Randomization
from vision_attn.metrics.explanation.road import SHARES, impute_most_relevant
from vision_attn.metrics.explanation.sensitivity import SAMPLES, Sensitivity
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.global_attention import GlobalAttention

quantus = pytest.importorskip("quantus", reason="quantus is a development dependency")
QUIET = {"disable_warnings": True}
AS_IT_IS = QUIET | {"abs": False, "normalise": False}


@pytest.fixture
def batch() -> EvaluationBatch:
    """Images of 4 x 6 pixels and a small attention model with three classes.

    In single precision, the only one in which Quantus runs a model.
    """
    pooling = partial(GlobalAttention, heads=3)
    model = AttentionClassifier(Pixels(), pooling, 3)  # type: ignore[arg-type]
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=2.0)
    images = torch.rand(7, 3, 4, 6)
    return EvaluationBatch(model.eval(), images, torch.arange(7) % 3)


def quantus_scores(
    metric: Any, batch: EvaluationBatch, heatmaps: Tensor | None, **more: Any
) -> Any:
    """Compute the scores of a Quantus metric."""
    maps = None if heatmaps is None else heatmaps.unsqueeze(1).numpy()
    return metric(
        model=batch.model,
        x_batch=batch.images.numpy(),
        y_batch=batch.targets.numpy(),
        a_batch=maps,
        channel_first=True,
        **more,
    )


def test_deletion_is_pixel_flipping(batch: EvaluationBatch) -> None:
    """Quantus' curve starts after the first pixel; its score is the sum under it, not the mean."""
    heat = torch.rand(7, 4, 6)
    flipping = quantus.PixelFlipping(features_in_step=3, perturb_baseline=PLAIN, **AS_IT_IS)
    curve = torch.tensor(np.array(quantus_scores(flipping, batch, heat, softmax=True)))
    assert curve.shape == (7, 24)  # one step removes the three channels of one pixel
    curve = torch.cat([probabilities(batch, batch.images).unsqueeze(1), curve], dim=1)
    theirs = torch.trapezoid(curve, dim=1) / 24
    assert_close(Deletion().score(batch, heat), theirs.float())


class TestRoad:
    def test_the_imputation(self) -> None:
        images, removed = torch.rand(3, 3, 11, 13).double(), torch.rand(3, 1, 11, 13) < 0.6
        for image, mask, ours in zip(images, removed, impute(images, removed), strict=True):
            indices = mask.flatten().nonzero().squeeze(1).numpy()
            theirs = quantus.functions.perturb_func.noisy_linear_imputation(
                image.numpy(), indices, noise=0.0
            )
            assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-4)

    def test_the_curve(self, batch: EvaluationBatch, monkeypatch: pytest.MonkeyPatch) -> None:
        """Quantus returns the accuracy over all images at each share of removed pixels.

        It needs maps with as many channels as the images: with one map for three channels, it
        looks for pixels in the second and third channel, and fails. So the images are gray here.
        """
        monkeypatch.setattr(road, "NOISE", 0.0)
        gray = nn.Sequential(Grayscale(), batch.model).eval()
        images, heat = batch.images[:, :1], torch.rand(7, 4, 6)
        batch.model.head.bias.data -= gray(images).detach().mean(0)  # so that all classes occur
        targets = gray(images).argmax(1)
        percentages = [round(100 * share) for share in SHARES]
        metric = quantus.ROAD(percentages=percentages, noise=0.0, **AS_IT_IS)
        theirs = metric(
            model=gray,
            x_batch=images.numpy(),
            y_batch=targets.numpy(),
            a_batch=heat.unsqueeze(1).numpy(),
            channel_first=True,
        )
        ranks = most_relevant_first(heat, 4, 6)
        ours = {}
        for percentage, share in zip(percentages, SHARES, strict=True):
            logits = batch.model(impute_most_relevant(images.expand(-1, 3, -1, -1), ranks, share))
            ours[percentage] = (logits.argmax(1) == targets).double().mean().item()
        assert ours == pytest.approx(theirs)
        assert len(set(theirs.values())) > 2


class Grayscale(nn.Module):
    """Expand gray images to three channels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


def test_infidelity(batch: EvaluationBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantus' maps are slopes: it multiplies them by the change of each value, without scaling.

    Our maps are attributions per pixel, at their best scale. Quantus removes squares one after
    the other without restoring them, so our squares are set to the same here.
    """
    attributions = torch.rand(7, 4, 6) - 0.3
    removed = torch.zeros(6, 7, 1, 4, 6, dtype=torch.bool)
    for k in range(6):
        removed[k:, ..., k // 3 * 2 :, :][..., :2, k % 3 * 2 : k % 3 * 2 + 2] = True
    monkeypatch.setattr(infidelity, "random_squares", lambda *_: iter(removed))
    original = batch.model(batch.images).gather(1, batch.targets.unsqueeze(1))[:, 0]
    perturbed = [torch.where(g, PLAIN, batch.images) for g in removed]
    drops = [
        original - batch.model(m).gather(1, batch.targets.unsqueeze(1))[:, 0] for m in perturbed
    ]
    predicted = torch.stack([(attributions * g[:, 0]).sum((1, 2)) for g in removed])
    scale = (predicted * torch.stack(drops)).sum(0) / predicted.square().sum(0)
    scale = scale.clamp(min=0).detach()
    slopes = (scale.view(-1, 1, 1) * attributions).unsqueeze(1) / (batch.images - PLAIN) / 3
    metric = quantus.Infidelity(
        perturb_patch_sizes=[2], perturb_baseline=PLAIN, n_perturb_samples=1, **AS_IT_IS
    )
    theirs = metric(
        model=batch.model,
        x_batch=batch.images.numpy(),
        y_batch=batch.targets.numpy(),
        a_batch=slopes.numpy(),
        channel_first=True,
    )
    ours = Infidelity().score(batch, attributions)
    assert_close(ours, torch.tensor(theirs).to(ours), rtol=1e-5, atol=1e-7)
    assert_close(ours, least_error(predicted, torch.stack(drops)).detach(), rtol=1e-5, atol=1e-7)
    assert (scale > 0).any()


def test_sensitivity(batch: EvaluationBatch) -> None:
    """On the same perturbed images; Quantus' default is 200 that are ten times as strong."""
    seen: list[Tensor] = []

    def explain(model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        seen.append(images.detach().clone())
        return Evidence()(model, images, targets)

    heat = Evidence()(batch.model, batch.images, batch.targets)
    again = EvaluationBatch(batch.model, batch.images, batch.targets, None, explain)  # type: ignore[arg-type]
    ours = Sensitivity().score(again, heat)
    changed = iter([images for images in seen if not torch.equal(images, batch.images)])
    metric = quantus.MaxSensitivity(
        nr_samples=SAMPLES,
        perturb_func=lambda arr, indices, **_: next(changed).flatten(1).numpy(),
        **AS_IT_IS,
    )
    theirs = quantus_scores(metric, batch, heat, explain_func=for_quantus(Evidence()))
    assert_close(ours, torch.tensor(np.array(theirs)).to(ours))
    assert next(changed, None) is None


def test_randomization(batch: EvaluationBatch) -> None:
    """Quantus' last score: the model with all layers randomized, with a fixed seed.

    Quantus compares absolute values of maps, and we take the absolute value of the correlation,
    so the maps here are positive. Quantus skips parameters that no layer can reset, and we
    shuffle them, so both use the randomized model of Quantus.
    """
    images = torch.rand(5, 3, 16, 16)
    explain = positive(Evidence())
    here = EvaluationBatch(batch.model, images, batch.targets[:5], None, explain)  # type: ignore[arg-type]
    heat = explain(here.model, images, here.targets)
    metric = quantus.MPRT(return_last_correlation=True, **QUIET)
    theirs = quantus_scores(metric, here, heat, explain_func=for_quantus(explain))
    wrapped = quantus.helpers.model.pytorch_model.PyTorchModel(here.model)
    *_, (_, fresh) = wrapped.get_random_layer_generator(order="top_down", seed=42)
    ours = Randomization()
    ours.cached = (here.model, fresh)
    assert_close(ours.score(here, heat).double(), torch.tensor(theirs).double().abs())
    assert max(np.abs(theirs)) < 0.99


def positive(explain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Square the maps of an explainer, so that they equal their absolute values."""
    return lambda model, images, targets: explain(model, images, targets).square()


def for_quantus(explain: Callable[..., Tensor]) -> Callable[..., np.ndarray]:
    """Wrap an explainer for Quantus: arrays in, maps with one channel out."""

    def wrapped(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        images, classes = torch.as_tensor(inputs), torch.as_tensor(targets)
        return explain(model, images, classes).detach().unsqueeze(1).numpy()

    return wrapped


class TestMasks:
    @pytest.fixture
    def masked(self, batch: EvaluationBatch) -> EvaluationBatch:
        masks = torch.rand(7, 4, 6) < 0.4
        masks[:, 0, 0] = True
        return EvaluationBatch(batch.model, batch.images, batch.targets, masks)

    def score_with_masks(self, metric: Any, batch: EvaluationBatch, heat: Tensor) -> Tensor:
        assert batch.masks is not None
        masks = batch.masks.unsqueeze(1).numpy()
        return torch.tensor(np.array(quantus_scores(metric, batch, heat, s_batch=masks))).float()

    def test_pointing_game(self, masked: EvaluationBatch) -> None:
        """Equal for one maximum; if several tie, Quantus counts a hit if one is on the object."""
        heat = torch.rand(7, 4, 6)
        metric = quantus.PointingGame(**AS_IT_IS)
        ours = PointingGame().score(masked, heat)
        assert_close(ours, self.score_with_masks(metric, masked, heat))
        assert 0 < ours.mean() < 1
        assert masked.masks is not None
        flat = torch.arange(1.0, 8.0).view(7, 1, 1).expand(7, 4, 6)
        assert_close(self.score_with_masks(metric, masked, flat), torch.ones(7))
        share = masked.masks.float().mean((1, 2))
        assert_close(PointingGame().score(masked, flat), share)

    def test_energy_is_relevance_mass(self, masked: EvaluationBatch) -> None:
        """Equal for positive values; Quantus also sums negative values, which we ignore."""
        heat = torch.randn(7, 4, 6)
        metric = quantus.RelevanceMassAccuracy(**AS_IT_IS)
        theirs = self.score_with_masks(metric, masked, heat.clamp(min=0))
        assert_close(Energy().score(masked, heat), theirs)
        assert not torch.allclose(self.score_with_masks(metric, masked, heat), theirs)
