"""Deletion metric: how fast the probability falls as the most relevant pixels are removed."""

from torch import Tensor

from vision_attn.metrics.explanation.base import (
    EvaluationBatch,
    ExplanationMetric,
    mean_color_baseline,
)
from vision_attn.metrics.explanation.perturbation import area_under_curve, most_relevant_first


class Deletion(ExplanationMetric):
    """Area under the target's probability curve while the most relevant pixels are removed first.

    RISE's deletion (Petsiuk et al. 2018, arXiv 1806.07421), in 28 equal steps. Removed pixels
    get the mean color, 0 after normalization. Lower is better: the highlighted pixels were
    needed.
    """

    higher_is_better = False

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the areas (B,), between 0 and 1."""
        baseline = mean_color_baseline(batch).expand_as(batch.images)
        ranks = most_relevant_first(heatmaps, *batch.images.shape[-2:])
        return area_under_curve(batch, batch.images, baseline, ranks)
