"""Grad-CAM at the last feature grid of the backbone, with Captum."""

import torch
from captum.attr import LayerGradCam
from torch import Tensor

from vision_attn.explainers.base import Explainer, gather_classes
from vision_attn.models.classifier import AttentionClassifier


class GradCam(Explainer):
    """Grad-CAM: features weighted by their mean gradient, positive part only.

    Selvaraju et al. 2017, arXiv 1610.02391.
    """

    signed = False

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, h, w), >= 0."""
        method = LayerGradCam(model, model.backbone.last_grid)
        maps = method.attribute(images, target=targets, relu_attributions=True)
        return maps.detach().squeeze(1)

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, M, h, w) for M target classes per image; runs the backbone once."""
        return gather_classes(self.for_every_class(model, images), targets).relu()

    def for_every_class(self, model: AttentionClassifier, images: Tensor) -> Tensor:
        """Grad-CAM maps (B, K, h, w) of all classes before the ReLU, negative values included.

        Runs the backbone once for all classes, which Captum's layer method cannot do.
        """
        with torch.no_grad():
            *earlier, last = model.backbone.grids(images, model.pooling.earlier_layers)
        with torch.enable_grad():
            features = last.clone().requires_grad_()
            logits = model.head(model.pooling(features, *earlier).context).sum(0)
            gradients = [torch.autograd.grad(z, features, retain_graph=True)[0] for z in logits]
        weights = torch.stack(gradients, dim=1).mean((-2, -1))
        return torch.einsum("bkc,bchw->bkhw", weights, last)
