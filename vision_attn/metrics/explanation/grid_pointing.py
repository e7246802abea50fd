"""Grid pointing game (GridPG): does the map of a class point to its image in a mosaic?"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vision_attn.core.errors import UserError
from vision_attn.core.grid import cell_numbers, upsample
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric

GRIDS = 500


@dataclass(frozen=True)
class Grids(EvaluationBatch):
    """Grids of images side by side, composed a few at a time to limit memory.

    Attributes:
        images: the single images.
        targets: (grids*k*k,), the class of each cell of each grid, row by row.
        chosen: (grids, k*k), the index of the image in each cell.
    """

    chosen: Tensor = field(default_factory=lambda: torch.empty(0, 4))

    def grids_per_batch(self, size: int) -> int:
        """Count the grids that fit into a batch of `size` heatmaps."""
        return max(size // self.chosen.shape[1], 1)

    def parts(self, size: int) -> int:
        """Count the batches that `split` makes."""
        return -(-len(self.chosen) // self.grids_per_batch(size))

    def split(self, size: int) -> Iterator[EvaluationBatch]:
        """Compose batches of a few grids; each grid is explained once per cell."""
        cells, step = self.chosen.shape[1], self.grids_per_batch(size)
        for start in range(0, len(self.chosen), step):
            chosen = self.chosen[start : start + step]
            grids = torch.stack([tile(self.images[indices]) for indices in chosen])
            masks = cell_masks(math.isqrt(cells), grids.shape[-1]).to(grids.device)
            yield EvaluationBatch(
                self.model,
                grids,
                self.targets[start * cells :][: chosen.numel()],
                masks.repeat(len(grids), 1, 1),
                self.explain,
            )


def tile(images: Tensor) -> Tensor:
    """Tile k*k images (k*k, 3, H, W) row by row into one grid (3, k*H, k*W)."""
    side = math.isqrt(len(images))
    rows = images.unflatten(0, (side, side))
    return rows.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


class GridPointing(ExplanationMetric):
    """Grid pointing game (GridPG; Böhle et al. 2021, arXiv 2104.00032) on k x k images.

    The images of a grid are of different classes. Each of the k*k classes is explained on the
    whole grid; its score is the fraction of the positive values that falls on its own image. A
    constant positive map scores 1/k^2. As in the paper, only images that the model classifies
    correctly are used, the most confident of each class first. Classes are drawn with a fixed
    seed; the images of a class are used in turn, each as rarely as possible.

    Args:
        side: k, images along a side of the grid.
        grids: maximum number of grids; there are never more than usable images.

    >>> images, masks = torch.zeros(1, 3, 4, 4), cell_masks(2, 4)[:1]
    >>> batch = EvaluationBatch(None, images, torch.tensor([0]), masks)
    >>> GridPointing(2).score(batch, torch.tensor([[[6.0, 1.0], [-5.0, 1.0]]]))   # 6 of 8
    tensor([0.7500])
    """

    def __init__(self, side: int = 3, grids: int = GRIDS) -> None:
        if side < 2:
            raise UserError(f"grid_pointing needs at least 2 images along a side, not {side}.")
        self.side = side
        self.grids = grids

    def prepare(self, batch: EvaluationBatch) -> EvaluationBatch:
        """Plan grids of the batch's images; each grid is explained for each of its classes.

        Raises:
            UserError: the model classifies images of too few classes correctly.
        """
        chosen = self.choose(batch).to(batch.images.device)
        return Grids(batch.model, batch.images, batch.targets[chosen.flatten()], chosen=chosen)

    def choose(self, batch: EvaluationBatch) -> Tensor:
        """Choose the images of each grid, all of different classes.

        Returns:
            Image indices (grids, k*k).
        """
        best_first = most_confident_first(batch)
        queues = {
            int(c): best_first[batch.targets[best_first] == c].tolist()
            for c in batch.targets.unique()
        }
        cells = self.side**2
        if len(queues) < cells:
            raise UserError(
                f"grid_pointing of {self.side}x{self.side} images needs {cells} classes with "
                f"correct predictions, and there are {len(queues)}."
            )
        generator = torch.Generator().manual_seed(0)
        used = dict.fromkeys(queues, 0)
        grids = []
        for _ in range(min(self.grids, len(best_first))):
            order = torch.randperm(len(queues), generator=generator)[:cells]
            classes = [list(queues)[k] for k in order.tolist()]
            grids.append([queues[c][used[c] % len(queues[c])] for c in classes])
            for c in classes:
                used[c] += 1
        return torch.tensor(grids)

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute scores (B,), between 0 and 1; 0 for a map without positive values."""
        assert batch.masks is not None  # `Grids.split` sets them
        height, width = heatmaps.shape[-2:]
        if height % self.side or width % self.side:  # map cells that overlap two images
            heatmaps = upsample(heatmaps, *batch.masks.shape[-2:])
        heat = heatmaps.clamp(min=0)
        cells = (heat.shape[-2], heat.shape[-1])
        own = adaptive_avg_pool2d(batch.masks.float(), cells)  # 0 or 1 in each cell
        return (heat * own).sum((-2, -1)) / heat.sum((-2, -1)).clamp(min=1e-30)


@torch.no_grad()
def most_confident_first(batch: EvaluationBatch) -> Tensor:
    """Rank the correctly classified images by confidence, highest target logit first.

    Returns:
        Image indices.
    """
    logits = torch.cat([part.model(part.images) for part in batch.split(250)])
    target_logits = logits.gather(1, batch.targets.unsqueeze(1)).squeeze(1)
    correct = logits.argmax(1) == batch.targets
    order = target_logits.argsort(descending=True)
    return order[correct[order]]


def cell_masks(side: int, size: int) -> Tensor:
    """Make masks (side^2, size, size), bool, of the cells of a grid.

    >>> cell_masks(2, 4)[1].int()
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [0, 0, 0, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """
    number = cell_numbers(side, size, size)
    return number.unsqueeze(0) == torch.arange(side**2).view(-1, 1, 1)
