"""The promise of every metric of heatmaps: one number an image."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from vision_attn.model import AttentionClassifier


@dataclass(frozen=True)
class Trial:
    """A batch of images that were explained.

    Attributes:
        model: what was explained, in eval mode.
        images: (B, 3, H, W) in [0, 1].
        targets: (B,), the explained classes.
        masks: (B, H, W), bool: where the object is; None if that is not known.
    """

    model: AttentionClassifier
    images: Tensor
    targets: Tensor
    masks: Tensor | None = None


class ExplanationMetric(ABC):
    """A way to score heatmaps."""

    @abstractmethod
    def measure(self, trial: Trial, heatmaps: Tensor) -> Tensor:
        """Scores (B,) of raw heatmaps (B, h, w).

        Raises:
            UserError: the trial lacks what the metric needs.
        """
