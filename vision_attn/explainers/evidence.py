"""What each place argued for the target class, adding up exactly to its logit."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.model import AttentionClassifier


class Evidence(Explainer):
    """The model's own decomposition of the target's logit over places.

    The sum of a map plus the head's bias is the logit; see `Pooled.evidence` for the formula.
    """

    signed = True

    @torch.no_grad()
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Evidence for the targets (B, h, w)."""
        everything = model.evidence(images)
        return everything[torch.arange(len(targets), device=targets.device), targets]
