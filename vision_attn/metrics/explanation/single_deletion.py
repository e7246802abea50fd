"""Single deletion (IDSDS): rank correlation of the map with the effect of deleting cells."""

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

CELLS = 4  # per side


class SingleDeletion(ExplanationMetric):
    """Rank correlation of a cell's map value with the logit drop when that cell is grayed out.

    IDSDS (Hesse et al. 2024, arXiv 2407.11910) on 4 x 4 cells: Spearman's correlation, over the
    cells of an image, of the sum of the signed map with the drop of the target logit. The
    protocol requires a model that was trained on images with deleted cells; for other models,
    gray cells are out of distribution.
    """

    @torch.no_grad()
    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the correlations (B,), between -1 and 1; NaN if a map is constant."""
        flat = is_flat(heatmaps)
        if any(side % CELLS for side in heatmaps.shape[-2:]):  # map cells that overlap two cells
            heatmaps = upsample(heatmaps, *batch.images.shape[-2:])
        cell_values = adaptive_avg_pool2d(heatmaps, CELLS).flatten(1)
        return spearman(cell_values, logit_drops(batch)).masked_fill(flat, float("nan"))


def logit_drops(batch: EvaluationBatch) -> Tensor:
    """Compute the drop of the target logit when each cell is set to the mean color (B, cells)."""
    cell_index = cell_numbers(CELLS, *batch.images.shape[-2:]).to(batch.images.device)
    baseline = mean_color_baseline(batch)
    ablated = [
        logits(batch, torch.where(cell_index == cell, baseline, batch.images))
        for cell in range(CELLS**2)
    ]
    return logits(batch, batch.images).unsqueeze(1) - torch.stack(ablated, dim=1)
