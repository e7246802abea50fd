"""What speaks for the target and not for its strongest rival, place by place."""

import torch
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.evidence import Evidence
from vision_attn.models.classifier import AttentionClassifier


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
        against: index of the class to compare with; None takes the strongest at each place, and
            so do images whose target is that very class.

    Raises:
        UserError: the other explainer's maps are the same for every class.
    """

    signed = True

    def __init__(self, of: Explainer | None = None, against: int | None = None) -> None:
        self.of = Evidence() if of is None else of
        if not (isinstance(self.of, Explainer) and self.of.class_specific):
            raise UserError("contrast is that of an explainer whose maps differ between classes.")
        self.against = against

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, h, w), positive where the target is ahead."""
        return self.contrasted(self.of.for_every_class(model, images), targets)

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, M, h, w) for several classes each; the other explainer is asked once."""
        everything = self.of.for_every_class(model, images)
        return torch.stack([self.contrasted(everything, t) for t in targets.unbind(1)], dim=1)

    def contrasted(self, everything: Tensor, targets: Tensor) -> Tensor:
        """The contrast (B, h, w) of maps for every class (B, K, h, w)."""
        rows = torch.arange(len(targets), device=targets.device)
        own = everything[rows, targets]
        rivals = everything.clone()
        rivals[rows, targets] = -torch.inf
        against_all = own - rivals.amax(1)
        if self.against is None:
            return against_all
        itself = (targets == self.against).view(-1, 1, 1)
        return torch.where(itself, against_all, own - everything[:, self.against])

    def expected_sum(
        self, model: AttentionClassifier, images: Tensor, targets: Tensor
    ) -> Tensor | None:
        """The difference of what the two maps add up to, against a named class; else NaN."""
        if self.against is None:
            return None
        own = self.of.expected_sum(model, images, targets)
        other = self.of.expected_sum(model, images, torch.full_like(targets, self.against))
        if own is None or other is None:
            return None
        return (own - other).masked_fill(targets == self.against, float("nan"))
