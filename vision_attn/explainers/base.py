"""The promise of every explainer: (model, images, targets) -> heatmaps."""

import copy
from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from vision_attn.core.errors import UserError, first_line
from vision_attn.models.classifier import AttentionClassifier

IMAGES_AT_ONCE = 64  # bounds the memory of methods that try many images for one


class Explainer(ABC):
    """A way to say which places of an image speak for a class.

    A subclass works without arguments.

    Attributes:
        signed: whether negative values mean that a place speaks against the class.
        class_specific: whether the map depends on the class that is explained.
    """

    signed: ClassVar[bool]
    class_specific: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Raw heatmaps (B, h, w), as coarse or as fine as the method has them.

        Args:
            model: in eval mode.
            images: (B, 3, H, W) in [0, 1].
            targets: (B,) class indices, always given: no explainer chooses them.

        Raises:
            UserError: the method cannot be used on this model.
        """

    def for_targets(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, M, h, w) of images for several classes each (B, M)."""
        return torch.stack([self(model, images, each) for each in targets.unbind(1)], dim=1)

    def for_every_class(self, model: AttentionClassifier, images: Tensor) -> Tensor:
        """Signed heatmaps (B, K, h, w) for each class in turn, where the method has signs."""
        classes = range(model.head.out_features)
        targets = torch.zeros(len(images), dtype=torch.long, device=images.device)
        return torch.stack([self(model, images, targets + k) for k in classes], dim=1)

    def expected_sum(
        self, model: AttentionClassifier, images: Tensor, targets: Tensor
    ) -> Tensor | None:
        """What each map should add up to (B,), for methods that promise it; else None."""
        return None


def gather_classes(everything: Tensor, targets: Tensor) -> Tensor:
    """Of maps for every class (B, K, h, w), those for some of them (B, M): (B, M, h, w).

    >>> gather_classes(torch.arange(3.0).view(1, 3, 1, 1), torch.tensor([[2, 0]])).flatten()
    tensor([2., 0.])
    """
    rows = torch.arange(len(targets), device=targets.device).unsqueeze(1)
    return everything[rows, targets]


def logits_of(model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
    """The targets' logits (B,), without gradients."""
    with torch.no_grad():
        return model(images).gather(1, targets.unsqueeze(1)).squeeze(1)


def requires_grad_copy(images: Tensor) -> Tensor:
    """A copy of images that gradients reach, so that the caller's stay as they are."""
    return images.detach().clone().requires_grad_()


def mean_color(model: AttentionClassifier, images: Tensor) -> Tensor:
    """The plain images that methods compare with: 0 after normalisation, a mid grey."""
    return model.backbone.mean.to(images.dtype).expand_as(images)


def baseline_difference(model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
    """How far the targets' logits (B,) are above those of the plain images."""
    plain = logits_of(model, mean_color(model, images), targets)
    return logits_of(model, images, targets) - plain


def without_inplace(model: AttentionClassifier) -> AttentionClassifier:
    """A copy whose activations keep their inputs, as methods with backward hooks need."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if getattr(module, "inplace", False) is True:
            cast(Any, module).inplace = False
    return plain


def unsupported(method: str, model: AttentionClassifier, error: Exception) -> UserError:
    """The message for a method that this model's layers defeat."""
    return UserError(f"{method} cannot be used on {model.backbone.name}: {first_line(error)[:160]}")
