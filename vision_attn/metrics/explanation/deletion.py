"""How fast does the class vanish when the hottest pixels are taken away?"""

from torch import Tensor

from vision_attn.metrics.explanation.base import (
    EvaluationBatch,
    ExplanationMetric,
    mean_color_baseline,
)
from vision_attn.metrics.explanation.perturbation import area_under_curve, hottest_first


class Deletion(ExplanationMetric):
    """Area under the target's probability while pixels become plain, the hottest first.

    RISE's deletion (Petsiuk et al. 2018, arXiv 1806.07421), in 28 equal steps. Plain is the mean
    colour, 0 after normalisation. Lower is better: the pixels that were named were needed.
    """

    higher_is_better = False

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Scores (B,), between 0 and 1."""
        plain = mean_color_baseline(batch).expand_as(batch.images)
        ranks = hottest_first(heatmaps, *batch.images.shape[-2:])
        return area_under_curve(batch, batch.images, plain, ranks)
