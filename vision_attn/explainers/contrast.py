"""Contrastive maps: the map of the target class minus that of another class."""

import torch
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.evidence import Evidence
from vision_attn.models.classifier import AttentionClassifier


class Contrast(Explainer):
    """Contrastive map: the target's map minus that of a given class or of the strongest rival.

    Class scores that were trained with a softmax have a meaning only relative to each other:
    adding the same map to every class changes no prediction. So a class-specific map is best
    read as a contrast::

        contrast_c(i) = map_c(i) - map_k(i)                     against a given class k
        contrast_c(i) = map_c(i) - max over k != c of map_k(i)  against the strongest rival

    For evidence and a given class k, the map adds up exactly to the difference of the two logits
    minus the difference of their biases. On the command line, `contrast` compares evidence maps
    and `contrast:grad_cam` compares those of another explainer.

    Args:
        of: the explainer whose maps are compared; None means evidence.
        against: index of the class to compare with. None means the strongest rival at each
            grid cell, which is also used for images whose target is the class `against` itself.

    Raises:
        UserError: the maps of the other explainer are the same for every class.
    """

    signed = True

    def __init__(self, of: Explainer | None = None, against: int | None = None) -> None:
        self.of = Evidence() if of is None else of
        if not (isinstance(self.of, Explainer) and self.of.class_specific):
            raise UserError("contrast needs an explainer whose maps differ between classes.")
        self.against = against

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Contrastive maps (B, h, w), positive where the target class is ahead."""
        return self.contrast_maps(self.of.for_every_class(model, images), targets)

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Contrastive maps (B, M, h, w) for M targets per image; runs the other explainer once."""
        class_maps = self.of.for_every_class(model, images)
        return torch.stack([self.contrast_maps(class_maps, t) for t in targets.unbind(1)], dim=1)

    def contrast_maps(self, class_maps: Tensor, targets: Tensor) -> Tensor:
        """Compute contrastive maps (B, h, w) from the maps of all classes (B, K, h, w)."""
        rows = torch.arange(len(targets), device=targets.device)
        target_maps = class_maps[rows, targets]
        rivals = class_maps.clone()
        rivals[rows, targets] = -torch.inf
        against_all = target_maps - rivals.amax(1)
        if self.against is None:
            return against_all
        same_class = (targets == self.against).view(-1, 1, 1)
        return torch.where(same_class, against_all, target_maps - class_maps[:, self.against])

    def expected_sum(
        self, model: AttentionClassifier, images: Tensor, targets: Tensor
    ) -> Tensor | None:
        """Difference of the expected sums (B,) of the two maps; NaN where the target is `against`.

        None if no class to compare with is given, or if the other explainer has no expected sum.
        """
        if self.against is None:
            return None
        own_sum = self.of.expected_sum(model, images, targets)
        other_sum = self.of.expected_sum(model, images, torch.full_like(targets, self.against))
        if own_sum is None or other_sum is None:
            return None
        return (own_sum - other_sum).masked_fill(targets == self.against, float("nan"))

    def comparable_with(self, name: str) -> str:
        """The name of the maps of which these are differences.

        >>> Contrast().comparable_with("contrast"), Contrast().comparable_with("contrast:grad_cam")
        ('evidence', 'grad_cam')
        """
        return name.partition(":")[2] or "evidence"
