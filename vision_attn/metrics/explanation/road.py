"""ROAD: probability while the most relevant pixels are replaced by imputed values."""

import torch
from torch import Tensor

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, probabilities
from vision_attn.metrics.explanation.imputation import impute
from vision_attn.metrics.explanation.perturbation import most_relevant_first

SHARES = tuple(k / 10 for k in range(1, 10))  # fractions of pixels to remove
NOISE = 0.01  # standard deviation, for pixel values in [0, 1]


class Road(ExplanationMetric):
    """ROAD (Rong et al. 2022, arXiv 2202.00449): remove and debias, most relevant first (MoRF).

    Removed pixels are imputed from their neighbors, with a little noise. With a constant color,
    as in `deletion`, a model can see which pixels were removed, and may infer the class from
    their outline alone. The score of an image is the mean of the target's probability with 10,
    20, ..., 90 % of its pixels removed. The paper's curve is of accuracy, which is 0 or 1 for one
    image; its authors' code also records the probability. Lower is better.
    """

    higher_is_better = False

    @torch.no_grad()
    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the mean probabilities (B,), between 0 and 1."""
        ranks = most_relevant_first(heatmaps, *batch.images.shape[-2:])
        curve = [
            probabilities(batch, impute_most_relevant(batch.images, ranks, share))
            for share in SHARES
        ]
        return torch.stack(curve).mean(0)


def impute_most_relevant(images: Tensor, ranks: Tensor, share: float) -> Tensor:
    """Impute the first pixels by rank (B, H*W) of images (B, 3, H, W), with fixed noise."""
    height, width = images.shape[-2:]
    count = int(share * height * width + 1e-9)  # in floating point, .7 x 10 is slightly less than 7
    removed = (ranks < count).view(-1, 1, height, width)
    generator = torch.Generator().manual_seed(0)
    noise = NOISE * torch.randn(1, *images.shape[1:], generator=generator)
    return impute(images, removed) + removed * noise.to(images)
