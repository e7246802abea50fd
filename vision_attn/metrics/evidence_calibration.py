"""Calibration of evidence: what a map says of a cell, against the effect of deleting the cell.

Axes: N images, C = 16 cells of the 4x4 grid, numbered row by row. All values are in logits.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vision_attn.core.grid import cell_numbers, sums_in_cells
from vision_attn.core.progress import ProgressBar
from vision_attn.metrics.bootstrap import LEVEL, Interval
from vision_attn.models.classifier import AttentionClassifier

SIDE = 4  # cells per side, as in the metric `single_deletion`
BATCH_SIZE = 32
RESAMPLES = 1_000


@dataclass(frozen=True)
class CellEffects:
    """The evidence in each cell, and what becomes of the evidence when the cell is deleted.

    Evidence adds up to the logit, so for an image x, a cell c, and the image x' in which c has the
    mean color: `said - measured = stays - spills`.

    Attributes:
        said: (N, C), the evidence in c.
        measured: (N, C), the drop of the logit from x to x'.
        stays: (N, C), the evidence in c of x', where there is nothing to see.
    """

    said: Tensor
    measured: Tensor
    stays: Tensor

    @property
    def spills(self) -> Tensor:
        """By how much the evidence of all other cells drops from x to x' (N, C)."""
        return self.stays - (self.said - self.measured)

    def __getitem__(self, images: slice | Tensor) -> "CellEffects":
        """The effects of some of the images."""
        return CellEffects(self.said[images], self.measured[images], self.stays[images])


@torch.no_grad()
def measure_cell_effects(
    model: AttentionClassifier, images: Tensor, targets: Tensor, batch_size: int = BATCH_SIZE
) -> CellEffects:
    """Delete each cell of each image in turn: 17 forward passes per image, with a progress bar.

    Args:
        model: in eval mode.
        images: (N, 3, H, W) in [0, 1].
        targets: (N,), the classes whose logits are measured.
        batch_size: images per forward pass.
    """
    batches = -(-len(images) // batch_size)
    parts = []
    with ProgressBar("deleting cells", batches, "batches", tells_time=False) as bar:
        for part, classes in zip(images.split(batch_size), targets.split(batch_size), strict=True):
            parts.append(effects_in_batch(model, part, classes))
            bar.advance()
    return CellEffects(
        torch.cat([part.said for part in parts]),
        torch.cat([part.measured for part in parts]),
        torch.cat([part.stays for part in parts]),
    )


def effects_in_batch(model: AttentionClassifier, images: Tensor, targets: Tensor) -> CellEffects:
    """The effects of each cell (B, C) of a batch of images (B, 3, H, W)."""
    number = cell_numbers(SIDE, *images.shape[-2:]).to(images.device)
    plain = model.backbone.mean.to(images.dtype)
    said = evidence_in_cells(model, images, targets)
    measured, stays = [], []
    for cell in range(SIDE**2):
        after = evidence_in_cells(model, torch.where(number == cell, plain, images), targets)
        measured.append(said.sum(1) - after.sum(1))
        stays.append(after[:, cell])
    return CellEffects(said, torch.stack(measured, 1), torch.stack(stays, 1))


def evidence_in_cells(model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
    """The evidence for the target in each cell (B, C); a place in two cells is split by area."""
    maps = model.evidence(images)[torch.arange(len(images), device=images.device), targets]
    return sums_in_cells(maps, SIDE).flatten(1)


class Calibration(NamedTuple):
    """How well evidence predicts the effect of deleting cells, over all cells of all images.

    Attributes:
        slope: of the least-squares line of `measured` over `said`; 1 is best, below 1 the maps
            exaggerate.
        r2: the share of the variance of `measured` that the line explains.
        median_error: median of |said - measured|, in logits.
        stays: median of |stays|, in logits.
        spills: median of |spills|, in logits.
    """

    slope: float
    r2: float
    median_error: float
    stays: float
    spills: float


def calibration(effects: CellEffects) -> Calibration:
    """The calibration of a set of images; NaN for slope and R^2 if the evidence is constant.

    >>> said = torch.tensor([[0.0, 1.0, 2.0]])
    >>> measured = torch.tensor([[0.0, 0.5, 1.0]])
    >>> calibration(CellEffects(said, measured, said - measured))
    Calibration(slope=0.5, r2=1.0, median_error=0.5, stays=0.5, spills=0.0)
    """
    x, y = (values.flatten().double().cpu().numpy() for values in (effects.said, effects.measured))
    covariance = np.cov(x, y, bias=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = covariance[0, 1] / covariance[0, 0]
        r2 = covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1])
    stays, spills = (values.double().cpu().numpy() for values in (effects.stays, effects.spills))
    medians = (float(np.median(np.abs(values))) for values in (x - y, stays, spills))
    return Calibration(float(slope), float(r2), *medians)


def calibration_intervals(effects: CellEffects, seed: int = 0) -> dict[str, Interval]:
    """95 % percentile intervals, resampling images (Efron & Tibshirani 1993, section 13.3).

    The cells of an image are kept together, since they are not independent of each other.
    """
    generator = np.random.default_rng(seed)
    count = len(effects.said)
    drawn: NDArray[np.float64] = np.array(
        [
            calibration(effects[torch.from_numpy(generator.integers(0, count, count))])
            for _ in range(RESAMPLES)
        ]
    )
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return {
        name: Interval(float(low[index]), float(high[index]))
        for index, name in enumerate(Calibration._fields)
    }
