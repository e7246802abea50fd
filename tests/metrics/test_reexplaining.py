"""Test metrics that call the explainer or the model again, against values by hand."""

import pytest
import torch
from captum.metrics import infidelity
from torch import Tensor
from torch.testing import assert_close

from tests.metrics.test_metrics import PLAIN, colors, first_channel, pixel_sum_model
from vision_attn.core.errors import UserError
from vision_attn.explainers.evidence import Evidence
from vision_attn.metrics.explanation.base import EvaluationBatch
from vision_attn.metrics.explanation.infidelity import SAMPLES, Infidelity, random_squares
from vision_attn.metrics.explanation.randomization import Randomization
from vision_attn.metrics.explanation.sensitivity import Sensitivity

__all__ = ["colors"]  # a fixture


class TestExplainingAgain:
    def batch(self, explain: object, side: int = 8) -> EvaluationBatch:
        model = pixel_sum_model(side)
        images = first_channel(torch.rand(3, side, side) + 0.2)
        return EvaluationBatch(model, images, torch.zeros(3, dtype=torch.long), None, explain)  # type: ignore[arg-type]

    def test_randomization_of_a_map_that_ignores_the_model_is_one(self) -> None:
        batch = self.batch(lambda model, images, targets: images[:, 0])
        scores = Randomization().score(batch, batch.images[:, 0])
        assert_close(scores, torch.ones(3))

    def test_randomization_of_a_map_of_the_model_is_lower(self, colors: EvaluationBatch) -> None:
        before = {k: v.clone() for k, v in colors.model.state_dict().items()}
        images = torch.rand(12, 3, 4, 4)
        batch = EvaluationBatch(colors.model, images, colors.targets, None, Evidence())
        maps = Evidence()(batch.model, images, batch.targets)
        has_evidence = batch.targets < 3
        assert Randomization().score(batch, maps)[has_evidence].mean() < 0.9
        assert all(torch.equal(before[k], v) for k, v in colors.model.state_dict().items())

    def test_sensitivity_of_a_map_equal_to_the_image(self) -> None:
        batch = self.batch(lambda model, images, targets: images[:, 0], side=32)
        batch.images[:, 0] = 1.0
        scores = Sensitivity().score(batch, batch.images[:, 0])
        assert_close(scores, torch.full((3,), 0.02 / 3**0.5), rtol=0.05, atol=0)  # uniform noise

    def test_sensitivity_of_a_constant_explainer_is_zero(self) -> None:
        batch = self.batch(lambda model, images, targets: torch.ones(len(images), 4, 4))
        assert_close(Sensitivity().score(batch, torch.ones(3, 4, 4)), torch.zeros(3))

    def test_infidelity_of_an_exact_map_is_zero(self) -> None:
        batch = self.batch(None, side=16)
        exact = batch.images[:, 0] - PLAIN  # the logit is their sum
        wrong = Infidelity().score(batch, torch.rand(3, 16, 16)).min()
        assert wrong > 0.1
        assert Infidelity().score(batch, exact).max() < 1e-3 * wrong
        assert Infidelity().score(batch, 5 * exact).max() < 1e-3 * wrong  # scale does not matter
        assert Infidelity().score(batch, -exact).min() > wrong  # but the sign does

    def test_infidelity_matches_captum_for_maps_with_the_right_sign(self) -> None:
        batch = self.batch(None, side=16)
        attributions = batch.images[:, 0] - PLAIN + torch.rand(3, 16, 16)
        removed = torch.cat(list(random_squares(SAMPLES, batch.images))).unflatten(0, (SAMPLES, 3))

        def perturb(shares: Tensor) -> tuple[Tensor, Tensor]:  # Captum repeats each image
            each = removed.transpose(0, 1).flatten(0, 1).float()
            return each, shares - each

        def logits(shares: Tensor, images: Tensor) -> Tensor:
            return batch.model(shares * images + (1 - shares) * PLAIN)[:, 0]

        theirs = infidelity(
            logits,
            perturb,
            torch.ones(3, 1, 16, 16),
            attributions.unsqueeze(1),
            additional_forward_args=(batch.images,),
            n_perturb_samples=SAMPLES,
            normalize=True,
        )
        assert_close(Infidelity().score(batch, attributions), theirs, rtol=1e-3, atol=1e-3)

    def test_without_an_explainer_raises_user_error(self) -> None:
        for metric in (Randomization(), Sensitivity()):
            with pytest.raises(UserError, match="calls the explainer again, and none is given"):
                metric.score(self.batch(None), torch.ones(3, 4, 4))
