"""Input x gradient, with Captum."""

from captum.attr import InputXGradient as CaptumInputXGradient
from torch import Tensor

from vision_attn.explainers.base import Explainer, requires_grad_copy
from vision_attn.models.classifier import AttentionClassifier


class InputXGradient(Explainer):
    """Each pixel times the gradient of the logit (Shrikumar et al. 2016, arXiv 1605.01713).

    Summed over channels. Pixels are in [0, 1], so black pixels always get 0.
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), one value per pixel, summed over channels."""
        return (
            CaptumInputXGradient(model)
            .attribute(requires_grad_copy(images), target=targets)
            .detach()
            .sum(1)
        )
