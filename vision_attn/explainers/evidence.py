"""Evidence maps: the contribution of each grid cell to the logit, exact by linearity."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer, gather_classes, logits_of
from vision_attn.models.classifier import AttentionClassifier


class Evidence(Explainer):
    """Exact decomposition of the target logit over the cells of the feature grid.

    The sum of a map plus the head's bias is the logit; see `Pooled.evidence` for the formula.
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Evidence maps (B, h, w) of the target classes."""
        return self.for_targets(model, images, targets.unsqueeze(1)).squeeze(1)

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Evidence maps (B, M, h, w) of M target classes per image, from one forward pass."""
        return gather_classes(self.for_every_class(model, images), targets)

    @torch.no_grad()
    def for_every_class(self, model: AttentionClassifier, images: Tensor) -> Tensor:
        """Evidence maps (B, K, h, w) of all classes, from one forward pass."""
        return model.evidence(images)

    def expected_sum(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Target logits minus their biases (B,)."""
        return logits_of(model, images, targets) - model.head.bias.detach()[targets]
