"""SmoothGrad: gradients averaged over noisy copies of the image, with Captum."""

import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor

from vision_attn.explainers.base import IMAGES_AT_ONCE, Explainer, requires_grad_copy
from vision_attn.models.classifier import AttentionClassifier

SAMPLES = 16
NOISE = 0.15  # as a fraction of the range from black to white; the paper finds 0.1 to 0.2 best


class SmoothGrad(Explainer):
    """SmoothGrad: the gradient averaged over noisy copies of the image.

    Smilkov et al. 2017, arXiv 1706.03825. As in `Saliency`, the map is the largest absolute
    value over a pixel's channels, here of the averaged gradient.
    """

    signed = False

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), >= 0. The noise is the same in every call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            maps = NoiseTunnel(Saliency(model)).attribute(
                requires_grad_copy(images),
                nt_type="smoothgrad",
                nt_samples=SAMPLES,
                nt_samples_batch_size=max(IMAGES_AT_ONCE // len(images), 1),
                stdevs=NOISE,
                target=targets,
                abs=False,
            )
        return maps.detach().abs().amax(1)
