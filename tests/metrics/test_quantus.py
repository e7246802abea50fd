"""A second opinion: Quantus on the same model, images and maps, where it has the same metric.

Where its definition differs, the test says how and converts. It has no insertion, no grid pointing
game, no single-deletion correlation and no MaxBoxAcc.
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
from vision_attn.metrics.explanation.perturbation import hottest_first
from vision_attn.metrics.explanation.pointing_game import PointingGame
from vision_attn.metrics.explanation.randomization import Randomization
from vision_attn.metrics.explanation.road import SHARES, without
from vision_attn.metrics.explanation.sensitivity import SAMPLES, Sensitivity
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.global_attention import GlobalAttention

quantus = pytest.importorskip("quantus", reason="the second opinion is a development dependency")
QUIET = {"disable_warnings": True}
AS_IT_IS = QUIET | {"abs": False, "normalise": False}


@pytest.fixture
def batch() -> EvaluationBatch:
    """Images of 4 x 6 pixels, a small attention model of three classes.

    In single precision: Quantus asks a model in no other.
    """
    pooling = partial(GlobalAttention, heads=3)
    model = AttentionClassifier(Pixels(), pooling, 3)  # type: ignore[arg-type]
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=2.0)
    images = torch.rand(7, 3, 4, 6)
    return EvaluationBatch(model.eval(), images, torch.arange(7) % 3)


def asked(metric: Any, batch: EvaluationBatch, heatmaps: Tensor | None, **more: Any) -> Any:
    """What a metric of Quantus says."""
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
    """Its curve starts after the first pixel, and has its sum under it, not its mean."""
    heat = torch.rand(7, 4, 6)
    flipping = quantus.PixelFlipping(features_in_step=3, perturb_baseline=PLAIN, **AS_IT_IS)
    curve = torch.tensor(np.array(asked(flipping, batch, heat, softmax=True)))
    assert curve.shape == (7, 24)  # a step takes the three channels of one pixel
    curve = torch.cat([probabilities(batch, batch.images).unsqueeze(1), curve], dim=1)
    theirs = torch.trapezoid(curve, dim=1) / 24
    assert_close(Deletion().score(batch, heat), theirs.float())


class TestRoad:
    def test_the_imputation(self) -> None:
        images, removed = torch.rand(3, 3, 11, 13).double(), torch.rand(3, 1, 11, 13) < 0.6
        for image, gone, ours in zip(images, removed, impute(images, removed), strict=True):
            places = gone.flatten().nonzero().squeeze(1).numpy()
            theirs = quantus.functions.perturb_func.noisy_linear_imputation(
                image.numpy(), places, noise=0.0
            )
            assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-4)

    def test_the_curve(self, batch: EvaluationBatch, monkeypatch: pytest.MonkeyPatch) -> None:
        """It says how many images are right at each share, for the images as a whole.

        Maps are to have the images' channels: with one map for three, it looks for pixels in the
        second and third channel, and fails. So here is a model of grey images.
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
        ranks = hottest_first(heat, 4, 6)
        ours = {}
        for percentage, share in zip(percentages, SHARES, strict=True):
            logits = batch.model(without(images.expand(-1, 3, -1, -1), ranks, share))
            ours[percentage] = (logits.argmax(1) == targets).double().mean().item()
        assert ours == pytest.approx(theirs)
        assert len(set(theirs.values())) > 2


class Grayscale(nn.Module):
    """Grey images as coloured ones."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


def test_infidelity(batch: EvaluationBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its maps are slopes, times the change of each value, and are taken at the scale they have.

    Ours are the worth of a pixel, at their best scale. Its squares are taken away one after the
    other and stay away, so that is what ours are made to do here.
    """
    worth = torch.rand(7, 4, 6) - 0.3
    gone = torch.zeros(6, 7, 1, 4, 6, dtype=torch.bool)
    for k in range(6):
        gone[k:, ..., k // 3 * 2 :, :][..., :2, k % 3 * 2 : k % 3 * 2 + 2] = True
    monkeypatch.setattr(infidelity, "squares", lambda *_: iter(gone))
    whole = batch.model(batch.images).gather(1, batch.targets.unsqueeze(1))[:, 0]
    mixed = [torch.where(g, PLAIN, batch.images) for g in gone]
    falls = [whole - batch.model(m).gather(1, batch.targets.unsqueeze(1))[:, 0] for m in mixed]
    foretold = torch.stack([(worth * g[:, 0]).sum((1, 2)) for g in gone])
    scale = (foretold * torch.stack(falls)).sum(0) / foretold.square().sum(0)
    scale = scale.clamp(min=0).detach()
    slopes = (scale.view(-1, 1, 1) * worth).unsqueeze(1) / (batch.images - PLAIN) / 3
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
    ours = Infidelity().score(batch, worth)
    assert_close(ours, torch.tensor(theirs).to(ours), rtol=1e-5, atol=1e-7)
    assert_close(ours, least_error(foretold, torch.stack(falls)).detach(), rtol=1e-5, atol=1e-7)
    assert (scale > 0).any()


def test_sensitivity(batch: EvaluationBatch) -> None:
    """On the same changes of the images; those it draws itself are ten times as strong, and 200."""
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
    theirs = asked(metric, batch, heat, explain_func=for_quantus(Evidence()))
    assert_close(ours, torch.tensor(np.array(theirs)).to(ours))
    assert next(changed, None) is None


def test_randomisation(batch: EvaluationBatch) -> None:
    """Its last score, of the model with all layers randomised; it leaves their order to a seed.

    It compares sizes of maps, where ours takes the size of the correlation, and so the maps here
    are positive. It skips parameters that no layer can reset, which ours shuffles: so both are
    given the model that it makes.
    """
    images = torch.rand(5, 3, 16, 16)
    explain = positive(Evidence())
    here = EvaluationBatch(batch.model, images, batch.targets[:5], None, explain)  # type: ignore[arg-type]
    heat = explain(here.model, images, here.targets)
    metric = quantus.MPRT(return_last_correlation=True, **QUIET)
    theirs = asked(metric, here, heat, explain_func=for_quantus(explain))
    wrapped = quantus.helpers.model.pytorch_model.PyTorchModel(here.model)
    *_, (_, fresh) = wrapped.get_random_layer_generator(order="top_down", seed=42)
    ours = Randomization()
    ours.known = (here.model, fresh)
    assert_close(ours.score(here, heat).double(), torch.tensor(theirs).double().abs())
    assert max(np.abs(theirs)) < 0.99


def positive(explain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The squares of a map: where nothing is negative, its size is the map itself."""
    return lambda model, images, targets: explain(model, images, targets).square()


def for_quantus(explain: Callable[..., Tensor]) -> Callable[..., np.ndarray]:
    """An explainer as Quantus calls it: arrays in, maps with one channel out."""

    def explained(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        images, classes = torch.as_tensor(inputs), torch.as_tensor(targets)
        return explain(model, images, classes).detach().unsqueeze(1).numpy()

    return explained


class TestMasks:
    @pytest.fixture
    def masked(self, batch: EvaluationBatch) -> EvaluationBatch:
        masks = torch.rand(7, 4, 6) < 0.4
        masks[:, 0, 0] = True
        return EvaluationBatch(batch.model, batch.images, batch.targets, masks)

    def say(self, metric: Any, batch: EvaluationBatch, heat: Tensor) -> Tensor:
        assert batch.masks is not None
        masks = batch.masks.unsqueeze(1).numpy()
        return torch.tensor(np.array(asked(metric, batch, heat, s_batch=masks))).float()

    def test_pointing_game(self, masked: EvaluationBatch) -> None:
        """The same for one peak; of several, one on the object is a hit to it."""
        heat = torch.rand(7, 4, 6)
        metric = quantus.PointingGame(**AS_IT_IS)
        ours = PointingGame().score(masked, heat)
        assert_close(ours, self.say(metric, masked, heat))
        assert 0 < ours.mean() < 1
        assert masked.masks is not None
        flat = torch.arange(1.0, 8.0).view(7, 1, 1).expand(7, 4, 6)
        assert_close(self.say(metric, masked, flat), torch.ones(7))
        share = masked.masks.float().mean((1, 2))
        assert_close(PointingGame().score(masked, flat), share)

    def test_energy_is_relevance_mass(self, masked: EvaluationBatch) -> None:
        """The same for positive heat; it adds up negative heat as well, which ours leaves out."""
        heat = torch.randn(7, 4, 6)
        metric = quantus.RelevanceMassAccuracy(**AS_IT_IS)
        theirs = self.say(metric, masked, heat.clamp(min=0))
        assert_close(Energy().score(masked, heat), theirs)
        assert not torch.allclose(self.say(metric, masked, heat), theirs)
