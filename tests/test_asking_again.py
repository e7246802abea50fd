"""Metrics that explain changed images, or a changed model, against figures worked out by hand."""

import pytest
import torch
from captum.metrics import infidelity
from torch import Tensor
from torch.testing import assert_close

from tests.test_metrics import PLAIN, colours, first_channel, summing
from vision_attn.core.errors import UserError
from vision_attn.explainers.evidence import Evidence
from vision_attn.metrics.explanation.base import Trial
from vision_attn.metrics.explanation.infidelity import SAMPLES, Infidelity, squares
from vision_attn.metrics.explanation.randomization import Randomisation
from vision_attn.metrics.explanation.sensitivity import Sensitivity

__all__ = ["colours"]  # a fixture


class TestAskingAgain:
    def trial(self, explain: object, side: int = 8) -> Trial:
        model = summing(side)
        images = first_channel(torch.rand(3, side, side) + 0.2)
        return Trial(model, images, torch.zeros(3, dtype=torch.long), None, explain)  # type: ignore[arg-type]

    def test_a_map_of_the_image_alone_survives_randomisation(self) -> None:
        trial = self.trial(lambda model, images, targets: images[:, 0])
        scores = Randomisation().measure(trial, trial.images[:, 0])
        assert_close(scores, torch.ones(3))

    def test_a_map_of_the_model_does_not(self, colours: Trial) -> None:
        before = {k: v.clone() for k, v in colours.model.state_dict().items()}
        images = torch.rand(12, 3, 4, 4)
        trial = Trial(colours.model, images, colours.targets, None, Evidence())
        maps = Evidence()(trial.model, images, trial.targets)
        seen = trial.targets < 3
        assert Randomisation().measure(trial, maps)[seen].mean() < 0.9
        assert all(torch.equal(before[k], v) for k, v in colours.model.state_dict().items())

    def test_sensitivity_of_the_image_itself(self) -> None:
        trial = self.trial(lambda model, images, targets: images[:, 0], side=32)
        trial.images[:, 0] = 1.0
        scores = Sensitivity().measure(trial, trial.images[:, 0])
        assert_close(scores, torch.full((3,), 0.02 / 3**0.5), rtol=0.05, atol=0)  # uniform noise

    def test_sensitivity_of_a_map_that_never_moves(self) -> None:
        trial = self.trial(lambda model, images, targets: torch.ones(len(images), 4, 4))
        assert_close(Sensitivity().measure(trial, torch.ones(3, 4, 4)), torch.zeros(3))

    def test_infidelity_of_a_map_that_tells_the_truth(self) -> None:
        trial = self.trial(None, side=16)
        truth = trial.images[:, 0] - PLAIN  # the logit is their sum
        wrong = Infidelity().measure(trial, torch.rand(3, 16, 16)).min()
        assert wrong > 0.1
        assert Infidelity().measure(trial, truth).max() < 1e-3 * wrong
        assert Infidelity().measure(trial, 5 * truth).max() < 1e-3 * wrong  # scale does not matter
        assert Infidelity().measure(trial, -truth).min() > wrong  # but the sign does

    def test_infidelity_is_captums_for_maps_of_the_right_sign(self) -> None:
        trial = self.trial(None, side=16)
        worth = trial.images[:, 0] - PLAIN + torch.rand(3, 16, 16)
        gone = torch.cat(list(squares(SAMPLES, trial.images))).unflatten(0, (SAMPLES, 3))

        def perturb(shares: Tensor) -> tuple[Tensor, Tensor]:  # Captum repeats each image
            each = gone.transpose(0, 1).flatten(0, 1).float()
            return each, shares - each

        def logits(shares: Tensor, images: Tensor) -> Tensor:
            return trial.model(shares * images + (1 - shares) * PLAIN)[:, 0]

        theirs = infidelity(
            logits,
            perturb,
            torch.ones(3, 1, 16, 16),
            worth.unsqueeze(1),
            additional_forward_args=(trial.images,),
            n_perturb_samples=SAMPLES,
            normalize=True,
        )
        assert_close(Infidelity().measure(trial, worth), theirs, rtol=1e-3, atol=1e-3)

    def test_without_an_explainer(self) -> None:
        for metric in (Randomisation(), Sensitivity()):
            with pytest.raises(UserError, match="there is none"):
                metric.measure(self.trial(None), torch.ones(3, 4, 4))
