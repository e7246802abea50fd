"""Guided Grad-CAM with Captum: the Grad-CAM map times guided backpropagation."""

import warnings

from captum.attr import GuidedGradCam as CaptumGuidedGradCam
from torch import Tensor

from vision_attn.explainers.base import Explainer, requires_grad_copy, unsupported, without_inplace
from vision_attn.models.classifier import AttentionClassifier


class GuidedGradCam(Explainer):
    """Guided Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), summed over channels.

    Guided backpropagation changes only the gradient of ReLUs: on a network with other activations
    this is Grad-CAM times the ordinary gradient. Its maps are known to look sharp even for random
    weights (Adebayo et al. 2018, arXiv 1810.03292).
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), one value per pixel, summed over channels."""
        copied = without_inplace(model)
        method = CaptumGuidedGradCam(copied, copied.backbone.last_grid)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
                maps = method.attribute(
                    requires_grad_copy(images), target=targets, interpolate_mode="bilinear"
                )
        except (RuntimeError, AssertionError) as error:
            raise unsupported("guided_grad_cam", model, error) from error
        return maps.detach().sum(1)
