"""How fast does the class appear when the hottest pixels are brought back?"""

from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric
from vision_attn.metrics.explanation.perturbation import area_under_curve, hottest_first

BLUR = 5 / 224  # standard deviation as a share of the side: RISE's 5 pixels at 224


class Insertion(ExplanationMetric):
    """Area under the target's probability while a blurred image becomes sharp, hottest first.

    RISE's insertion (Petsiuk et al. 2018, arXiv 1806.07421), in 28 equal steps; the blur is as
    strong for the image's size as theirs. Higher is better: the pixels that were named suffice.
    """

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Scores (B,), between 0 and 1."""
        side = min(batch.images.shape[-2:])
        sigma = max(BLUR * side, 1.0)
        kernel = 2 * round(sigma) + 1  # 11 for 5, as theirs
        blurred = gaussian_blur(batch.images, [kernel, kernel], [sigma, sigma])
        ranks = hottest_first(heatmaps, *batch.images.shape[-2:])
        return area_under_curve(batch, blurred, batch.images, ranks)
