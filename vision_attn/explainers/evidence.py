"""What each place argued for the target class, adding up exactly to its logit."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer, gather_classes, logits_of
from vision_attn.models.classifier import AttentionClassifier


class Evidence(Explainer):
    """The model's own decomposition of the target's logit over places.

    The sum of a map plus the head's bias is the logit; see `Pooled.evidence` for the formula.
    """

    signed = True

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Evidence for the targets (B, h, w)."""
        return self.for_targets(model, images, targets.unsqueeze(1)).squeeze(1)

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Evidence for several classes each (B, M, h, w), from one forward pass."""
        return gather_classes(self.for_every_class(model, images), targets)

    @torch.no_grad()
    def for_every_class(self, model: AttentionClassifier, images: Tensor) -> Tensor:
        """Evidence (B, K, h, w), from one forward pass."""
        return model.evidence(images)

    def expected_sum(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """The logits without their biases."""
        return logits_of(model, images, targets) - model.head.bias.detach()[targets]
