"""Do cells matter in the order that the map says?"""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vision_attn.core.grid import cell_numbers, upsample
from vision_attn.metrics.explanation.base import (
    EvaluationBatch,
    ExplanationMetric,
    is_flat,
    logits,
    mean_color_baseline,
)
from vision_attn.metrics.explanation.rank_correlation import spearman

CELLS = 4  # a side


class SingleDeletion(ExplanationMetric):
    """Rank correlation of a cell's heat with the logit's fall when that cell is plain.

    IDSDS (Hesse et al. 2024, arXiv 2407.11910) on 4 x 4 cells: Spearman's correlation, over an
    image's cells, of the sum of the signed map with the fall of the target's logit. The protocol
    asks for a model that saw such images in training; on another, the plain cells are themselves
    something new.
    """

    @torch.no_grad()
    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Scores (B,), between -1 and 1; NaN where a map is flat."""
        flat = is_flat(heatmaps)
        if any(side % CELLS for side in heatmaps.shape[-2:]):  # places lie across cells
            heatmaps = upsample(heatmaps, *batch.images.shape[-2:])
        heat = adaptive_avg_pool2d(heatmaps, CELLS).flatten(1)
        return spearman(heat, falls(batch)).masked_fill(flat, float("nan"))


def falls(batch: EvaluationBatch) -> Tensor:
    """How far the target's logit falls when each cell is plain (B, cells)."""
    number = cell_numbers(CELLS, *batch.images.shape[-2:]).to(batch.images.device)
    plain = mean_color_baseline(batch)
    without = [
        logits(batch, torch.where(number == cell, plain, batch.images)) for cell in range(CELLS**2)
    ]
    return logits(batch, batch.images).unsqueeze(1) - torch.stack(without, dim=1)
