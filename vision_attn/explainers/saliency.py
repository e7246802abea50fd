"""Saliency maps: the gradient of the logit at each pixel, with Captum."""

from captum.attr import Saliency as CaptumSaliency
from torch import Tensor

from vision_attn.explainers.base import Explainer, requires_grad_copy
from vision_attn.models.classifier import AttentionClassifier


class Saliency(Explainer):
    """Largest absolute gradient over a pixel's channels (Simonyan et al. 2013, arXiv 1312.6034).

    It shows where a small change would matter, not what supports the class.
    """

    signed = False

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), >= 0."""
        return (
            CaptumSaliency(model)
            .attribute(requires_grad_copy(images), target=targets)
            .detach()
            .amax(1)
        )
