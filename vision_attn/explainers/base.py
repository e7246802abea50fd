"""Base class of explainers (attribution methods): (model, images, targets) -> heatmaps."""

import copy
from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from vision_attn.core.errors import UserError, first_line
from vision_attn.models.classifier import AttentionClassifier

IMAGES_AT_ONCE = 64  # batch size for changed copies of an image; bounds memory


class Explainer(ABC):
    """Base class of attribution methods, which show which parts of an image support a class.

    A subclass must be constructible without arguments.

    Attributes:
        signed: whether maps have negative values, for parts that count against the class.
        class_specific: whether the map depends on the explained class.
    """

    signed: ClassVar[bool]
    class_specific: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Compute raw heatmaps (B, h, w) at the native resolution of the method.

        Args:
            model: in eval mode.
            images: (B, 3, H, W) in [0, 1].
            targets: (B,) class indices. The caller always gives them; no explainer picks a class.

        Raises:
            UserError: the method cannot be used on this model.
        """

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Compute heatmaps (B, M, h, w) for M target classes (B, M) per image."""
        return torch.stack([self(model, images, column) for column in targets.unbind(1)], dim=1)

    def for_every_class(self, model: AttentionClassifier, images: Tensor) -> Tensor:
        """Compute heatmaps (B, K, h, w) for all classes, one at a time; with signs if available."""
        classes = range(model.head.out_features)
        targets = torch.zeros(len(images), dtype=torch.long, device=images.device)
        return torch.stack([self(model, images, targets + k) for k in classes], dim=1)

    def expected_sum(
        self, model: AttentionClassifier, images: Tensor, targets: Tensor
    ) -> Tensor | None:
        """Compute the sum (B,) that each map should have (completeness); None if not defined."""
        return None

    def comparable_with(self, name: str) -> str:
        """The name of the maps whose values can be compared with these: the explainer's own name.

        Maps that can be compared are drawn in the same colors.
        """
        return name


def gather_classes(class_maps: Tensor, targets: Tensor) -> Tensor:
    """Select the maps of the target classes (B, M) from those of all classes (B, K, h, w).

    Returns:
        Maps (B, M, h, w).

    >>> gather_classes(torch.arange(3.0).view(1, 3, 1, 1), torch.tensor([[2, 0]])).flatten()
    tensor([2., 0.])
    """
    rows = torch.arange(len(targets), device=targets.device).unsqueeze(1)
    return class_maps[rows, targets]


def logits_of(model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
    """Compute the logits (B,) of the target classes, without gradients."""
    with torch.no_grad():
        return model(images).gather(1, targets.unsqueeze(1)).squeeze(1)


def requires_grad_copy(images: Tensor) -> Tensor:
    """Copy images and turn on `requires_grad`, so that the caller's tensor stays unchanged."""
    return images.detach().clone().requires_grad_()


def mean_color(model: AttentionClassifier, images: Tensor) -> Tensor:
    """Make baseline images of the mean color: 0 after normalization, a medium gray."""
    return model.backbone.mean.to(images.dtype).expand_as(images)


def baseline_difference(model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
    """Compute target logits (B,) minus those of the baseline images."""
    baseline = logits_of(model, mean_color(model, images), targets)
    return logits_of(model, images, targets) - baseline


def without_inplace(model: AttentionClassifier) -> AttentionClassifier:
    """Copy a model with in-place activations turned off, as backward hooks need it."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if getattr(module, "inplace", False) is True:
            cast(Any, module).inplace = False
    return copied


def unsupported(method: str, model: AttentionClassifier, error: Exception) -> UserError:
    """Make the error for an attribution method that does not support the layers of a model."""
    return UserError(f"{method} cannot be used on {model.backbone.name}: {first_line(error)[:160]}")
