"""Integrated gradients on the input pixels, with Captum."""

from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from vision_attn.explainers.base import IMAGES_AT_ONCE, Explainer, baseline_difference, mean_color
from vision_attn.models.classifier import AttentionClassifier

STEPS = 32


class IntegratedGradients(Explainer):
    """Gradients integrated along the straight path from a baseline image to the input.

    Sundararajan et al. 2017, arXiv 1703.01365. The baseline is the mean color of the backbone's
    training images, which is 0 after normalization. Channels are summed. A map adds up to the
    target logit minus that of the baseline, up to the numerical error of 32 steps.
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), one value per pixel, summed over channels."""
        method = CaptumIntegratedGradients(model)
        maps = method.attribute(
            images,
            baselines=mean_color(model, images),
            target=targets,
            n_steps=STEPS,
            internal_batch_size=max(IMAGES_AT_ONCE, len(images)),
        )
        return maps.detach().sum(1)

    def expected_sum(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Target logit minus that of the baseline image (B,)."""
        return baseline_difference(model, images, targets)
