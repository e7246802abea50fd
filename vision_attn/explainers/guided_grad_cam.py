"""Guided Grad-CAM, by Captum: Grad-CAM's places times guided backpropagation's pixels."""

import warnings

from captum.attr import GuidedGradCam as CaptumGuidedGradCam
from torch import Tensor

from vision_attn.explainers.base import Explainer, requires_grad_copy, unsupported, without_inplace
from vision_attn.models.classifier import AttentionClassifier


class GuidedGradCam(Explainer):
    """Selvaraju et al. 2017, arXiv 1610.02391. Channels are summed.

    Guided backpropagation changes the gradient of ReLUs alone: on a network of other activations
    this is Grad-CAM times the plain gradient. It is known to look sharp whatever the weights
    (Adebayo et al. 2018, arXiv 1810.03292).
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, H, W), one value a pixel."""
        plain = without_inplace(model)
        method = CaptumGuidedGradCam(plain, plain.backbone.last_grid)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
                maps = method.attribute(
                    requires_grad_copy(images), target=targets, interpolate_mode="bilinear"
                )
        except (RuntimeError, AssertionError) as error:
            raise unsupported("guided_grad_cam", model, error) from error
        return maps.detach().sum(1)
