"""What speaks for the target and not for its strongest rival, place by place."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.explainers.evidence import Evidence
from vision_attn.model import AttentionClassifier


class Contrast(Explainer):
    """A map of the target set against another class, or against the strongest at each place.

    Class scores that were trained with a softmax mean something only against each other: adding
    the same map to every class changes no prediction. So a class is best read as a contrast::

        contrast_c(i) = map_c(i) - map_k(i)                     against a named class k
        contrast_c(i) = map_c(i) - max over k != c of map_k(i)  against the strongest rival

    Of evidence and against a named class, it adds up exactly to the difference of the two logits
    less that of their biases. On the command line, `contrast` is that of evidence and
    `contrast:grad_cam` that of another explainer.

    Args:
        of: the explainer whose maps are compared; None takes evidence.
        against: index of the class to compare with; None takes the strongest at each place.
    """

    signed = True

    def __init__(self, of: Explainer | None = None, against: int | None = None) -> None:
        self.of = of or Evidence()
        self.against = against

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, h, w), positive where the target is ahead."""
        everything = self.of.for_every_class(model, images)
        rows = torch.arange(len(targets), device=targets.device)
        own = everything[rows, targets]
        if self.against is not None:
            return own - everything[:, self.against]
        rivals = everything.clone()
        rivals[rows, targets] = -torch.inf
        return own - rivals.amax(1)

    def total(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor | None:
        """The difference of what the two maps add up to, against a named class."""
        if self.against is None:
            return None
        own = self.of.total(model, images, targets)
        other = self.of.total(model, images, torch.full_like(targets, self.against))
        return None if own is None or other is None else own - other
