"""Pixels times their gradients, by Captum."""

from captum.attr import InputXGradient as CaptumInputXGradient
from torch import Tensor

from vision_attn.explainers.base import Explainer, requires_grad_copy
from vision_attn.models.classifier import AttentionClassifier


class InputXGradient(Explainer):
    """Each pixel times the logit's gradient there (Shrikumar et al. 2016, arXiv 1605.01713).

    Channels are summed. Pixels are in [0, 1]: black ones get nothing.
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, H, W), one value a pixel."""
        return (
            CaptumInputXGradient(model)
            .attribute(requires_grad_copy(images), target=targets)
            .detach()
            .sum(1)
        )
