"""Grad-CAM at the backbone's last grid, by Captum."""

from captum.attr import LayerGradCam
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.model import AttentionClassifier


class GradCam(Explainer):
    """Features weighted by their mean gradient, the positive part.

    Selvaraju et al. 2017, arXiv 1610.02391.
    """

    signed = False

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, h, w), >= 0."""
        method = LayerGradCam(model, model.backbone.last_grid)
        maps = method.attribute(images, target=targets, relu_attributions=True)
        return maps.detach().squeeze(1)
