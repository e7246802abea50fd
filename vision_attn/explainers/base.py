"""The promise of every explainer: (model, images, targets) -> heatmaps."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from vision_attn.model import AttentionClassifier


class Explainer(ABC):
    """A way to say which places of an image speak for a class.

    A subclass works without arguments and sets `signed`: whether negative values mean that a
    place speaks against the class.
    """

    signed: ClassVar[bool]

    @abstractmethod
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Raw heatmaps (B, h, w), as coarse or as fine as the method has them.

        Args:
            model: in eval mode.
            images: (B, 3, H, W) in [0, 1].
            targets: (B,) class indices, always given: no explainer chooses them.
        """
