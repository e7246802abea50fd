"""DeepLIFT against a mean-color baseline image, with Captum."""

import warnings

from captum.attr import DeepLift as CaptumDeepLift
from torch import Tensor

from vision_attn.explainers.base import (
    Explainer,
    baseline_difference,
    mean_color,
    requires_grad_copy,
    unsupported,
    without_inplace,
)
from vision_attn.models.classifier import AttentionClassifier


class DeepLift(Explainer):
    """DeepLIFT: differences from a baseline image, propagated back layer by layer.

    Shrikumar et al. 2017, arXiv 1704.02685, with the rescale rule. Captum has rules for ReLU,
    sigmoid, tanh and max pooling modules. Products, including those of attention, get ordinary
    gradients. Maps then miss their expected sum: `evaluate` reports the completeness error.
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), one value per pixel, summed over channels."""
        method = CaptumDeepLift(without_inplace(model))
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="(?s).*Setting forward, backward hooks")
                maps = method.attribute(
                    requires_grad_copy(images), baselines=mean_color(model, images), target=targets
                )
        except (RuntimeError, AssertionError, AttributeError) as error:
            raise unsupported("deep_lift", model, error) from error
        return maps.detach().sum(1)

    def expected_sum(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Target logit minus that of the baseline image (B,)."""
        return baseline_difference(model, images, targets)
