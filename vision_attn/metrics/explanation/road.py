"""How fast does the class vanish when the hottest pixels are replaced unnoticeably?"""

import torch
from torch import Tensor

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, probabilities
from vision_attn.metrics.explanation.imputation import impute
from vision_attn.metrics.explanation.perturbation import hottest_first

SHARES = tuple(k / 10 for k in range(1, 10))  # of the pixels are removed
NOISE = 0.01  # standard deviation, in pixels' values from 0 to 1


class Road(ExplanationMetric):
    """ROAD (Rong et al. 2022, arXiv 2202.00449): remove and debias, the hottest pixels first.

    Removed pixels are made up from their neighbours with a little noise. Plain ones, as in
    `deletion`, show a model where they were removed, and it may tell the class from their
    outline alone. The score of an image is the mean of the target's probability with 10, 20, ...,
    90 % of its pixels removed. The paper's curve is of accuracy, which is 0 or 1 for one image;
    its authors' code records the probability beside it. Lower is better.
    """

    higher_is_better = False

    @torch.no_grad()
    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Scores (B,), between 0 and 1."""
        ranks = hottest_first(heatmaps, *batch.images.shape[-2:])
        curve = [probabilities(batch, without(batch.images, ranks, share)) for share in SHARES]
        return torch.stack(curve).mean(0)


def without(images: Tensor, ranks: Tensor, share: float) -> Tensor:
    """Images (B, 3, H, W) whose first pixels by rank (B, H*W) are made up; noise as ever."""
    height, width = images.shape[-2:]
    count = int(share * height * width + 1e-9)  # .7 x 10 is a little less than 7
    removed = (ranks < count).view(-1, 1, height, width)
    generator = torch.Generator().manual_seed(0)
    noise = NOISE * torch.randn(1, *images.shape[1:], generator=generator)
    return impute(images, removed) + removed * noise.to(images)
