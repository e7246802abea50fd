"""Insertion metric: how fast the probability rises as the most relevant pixels are restored."""

from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric
from vision_attn.metrics.explanation.perturbation import area_under_curve, most_relevant_first

BLUR = 5 / 224  # standard deviation as a fraction of the side: RISE's 5 pixels at 224


class Insertion(ExplanationMetric):
    """Area under the target's probability curve while a blurred image is sharpened pixel by pixel.

    RISE's insertion (Petsiuk et al. 2018, arXiv 1806.07421), most relevant pixels first, in 28
    equal steps. The blur has the paper's strength relative to the image size. Higher is better:
    the highlighted pixels are sufficient.
    """

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the areas (B,), between 0 and 1."""
        side = min(batch.images.shape[-2:])
        sigma = max(BLUR * side, 1.0)
        kernel = 2 * round(sigma) + 1  # 11 for sigma 5, as in the paper
        blurred = gaussian_blur(batch.images, [kernel, kernel], [sigma, sigma])
        ranks = most_relevant_first(heatmaps, *batch.images.shape[-2:])
        return area_under_curve(batch, blurred, batch.images, ranks)
