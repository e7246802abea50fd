"""Grad-CAM at the backbone's last grid, by Captum."""

import torch
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
        return self.with_signs(model, images, targets).relu()

    def for_every_class(self, model: AttentionClassifier, images: Tensor) -> Tensor:
        """Maps (B, K, h, w) before their negative part is cut off."""
        classes = range(model.head.out_features)
        targets = torch.zeros(len(images), dtype=torch.long, device=images.device)
        return torch.stack([self.with_signs(model, images, targets + k) for k in classes], dim=1)

    def with_signs(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, h, w) before their negative part is cut off."""
        method = LayerGradCam(model, model.backbone.last_grid)
        return method.attribute(images, target=targets).detach().squeeze(1)
