"""Integrated gradients on the input pixels, by Captum."""

from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from vision_attn.explainers.base import IMAGES_AT_ONCE, Explainer, baseline_difference, mean_color
from vision_attn.models.classifier import AttentionClassifier

STEPS = 32


class IntegratedGradients(Explainer):
    """Gradients gathered on the straight path from a plain image to this one.

    Sundararajan et al. 2017, arXiv 1703.01365. The path starts at the mean colour of the
    backbone's training images, which is 0 after normalisation. Channels are summed: a map adds up
    to the logit's rise along the path, up to the error of 32 steps.
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, H, W), one value a pixel."""
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
        """The logit's rise from the plain image."""
        return baseline_difference(model, images, targets)
