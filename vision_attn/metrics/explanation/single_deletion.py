"""Single deletion (IDSDS): rank correlation of the map with the effect of deleting cells."""

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vision_attn.core.grid import upsample
from vision_attn.metrics.evidence_calibration import SIDE, measure_cell_effects
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, is_flat
from vision_attn.metrics.explanation.rank_correlation import spearman


class SingleDeletion(ExplanationMetric):
    """Rank correlation of a cell's map value with the logit drop when that cell is grayed out.

    IDSDS (Hesse et al. 2024, arXiv 2407.11910) on 4 x 4 cells: Spearman's correlation, over the
    cells of an image, of the sum of the signed map with the drop of the target logit. The
    protocol requires a model that was trained on images with deleted cells; for other models,
    gray cells are out of distribution.
    """

    def prepare(self, batch: EvaluationBatch) -> EvaluationBatch:
        """Delete each cell of each image, once for all explainers."""
        if batch.effects is not None:
            return batch
        effects = measure_cell_effects(batch.model, batch.images, batch.targets)
        return replace(batch, effects=effects)

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the correlations (B,), between -1 and 1; NaN if a map is constant."""
        effects = self.prepare(batch).effects
        assert effects is not None  # `prepare` measures them
        flat = is_flat(heatmaps)
        if any(side % SIDE for side in heatmaps.shape[-2:]):  # map cells that overlap two cells
            heatmaps = upsample(heatmaps, *batch.images.shape[-2:])
        cell_values = adaptive_avg_pool2d(heatmaps, SIDE).flatten(1)
        return spearman(cell_values, effects.measured).masked_fill(flat, float("nan"))
