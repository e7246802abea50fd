"""The grid pointing game: of several images side by side, does the heat find its own?"""

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
    """Images side by side, put together a few grids at a time: all of them would fill a memory.

    Attributes:
        images: the single images.
        targets: of every grid, the class of each of its cells, row by row.
        chosen: (grids, k*k), which image is in which cell.
    """

    chosen: Tensor = field(default_factory=lambda: torch.empty(0, 4))

    def at_once(self, size: int) -> int:
        """How many grids a batch of that many maps holds."""
        return max(size // self.chosen.shape[1], 1)

    def parts(self, size: int) -> int:
        """How many batches `split` makes."""
        return -(-len(self.chosen) // self.at_once(size))

    def split(self, size: int) -> Iterator[EvaluationBatch]:
        """A few grids at a time, each to be explained for each of its cells."""
        cells, step = self.chosen.shape[1], self.at_once(size)
        for start in range(0, len(self.chosen), step):
            chosen = self.chosen[start : start + step]
            grids = torch.stack([tile(self.images[places]) for places in chosen])
            masks = cell_masks(math.isqrt(cells), grids.shape[-1]).to(grids.device)
            yield EvaluationBatch(
                self.model,
                grids,
                self.targets[start * cells :][: chosen.numel()],
                masks.repeat(len(grids), 1, 1),
                self.explain,
            )


def tile(images: Tensor) -> Tensor:
    """k*k images (k*k, 3, H, W) side by side, row by row: (3, k*H, k*W)."""
    side = math.isqrt(len(images))
    rows = images.unflatten(0, (side, side))
    return rows.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


class GridPointing(ExplanationMetric):
    """GridPG (Böhle et al. 2021, arXiv 2104.00032): k x k images of different classes as one.

    Each of the k*k classes is explained on the whole grid; its score is the share of positive
    heat that falls on its own image. A flat map scores 1/k^2. Images are those that the model is
    right about, the surest of each class first, as in the paper; classes are drawn with a fixed
    seed, and each image is used as rarely as can be.

    Args:
        side: k, images along a side of the grid.
        grids: how many grids are made at most; no more than there are images.

    >>> batch = EvaluationBatch(None, torch.zeros(1, 3, 4, 4), torch.tensor([0]), cell_masks(2, 4)[:1])
    >>> GridPointing(2).score(batch, torch.tensor([[[6.0, 1.0], [-5.0, 1.0]]]))   # 6 of 8
    tensor([0.7500])
    """

    def __init__(self, side: int = 3, grids: int = GRIDS) -> None:
        if side < 2:
            raise UserError(f"grid_pointing has at least 2 images along a side, not {side}.")
        self.side = side
        self.grids = grids

    def prepare(self, batch: EvaluationBatch) -> EvaluationBatch:
        """Grids of the trial's images, each to be explained for each of its classes."""
        chosen = self.choose(batch).to(batch.images.device)
        return Grids(batch.model, batch.images, batch.targets[chosen.flatten()], chosen=chosen)

    def choose(self, batch: EvaluationBatch) -> Tensor:
        """Which images make up each grid (grids, k*k), all of different classes."""
        best_first = surest_first(batch)
        queues = {
            int(c): best_first[batch.targets[best_first] == c].tolist()
            for c in batch.targets.unique()
        }
        cells = self.side**2
        if len(queues) < cells:
            raise UserError(
                f"grid_pointing of {self.side}x{self.side} images needs {cells} classes that "
                f"the model gets right, and there are {len(queues)}."
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
        """Scores (B,), between 0 and 1; 0 for a map without positive heat."""
        assert batch.masks is not None  # as `prepare` makes them
        height, width = heatmaps.shape[-2:]
        if height % self.side or width % self.side:  # cells of the map lie across two images
            heatmaps = upsample(heatmaps, *batch.masks.shape[-2:])
        heat = heatmaps.clamp(min=0)
        cells = (heat.shape[-2], heat.shape[-1])
        own = adaptive_avg_pool2d(batch.masks.float(), cells)  # 0 or 1 in each cell
        return (heat * own).sum((-2, -1)) / heat.sum((-2, -1)).clamp(min=1e-30)


@torch.no_grad()
def surest_first(batch: EvaluationBatch) -> Tensor:
    """Indices of the images that the model is right about, highest logits first."""
    logits = torch.cat([part.model(part.images) for part in batch.split(250)])
    own = logits.gather(1, batch.targets.unsqueeze(1)).squeeze(1)
    right = logits.argmax(1) == batch.targets
    order = own.argsort(descending=True)
    return order[right[order]]


def cell_masks(side: int, size: int) -> Tensor:
    """Where each image of a grid lies (side^2, size, size), bool.

    >>> cell_masks(2, 4)[1].int()
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [0, 0, 0, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """
    number = cell_numbers(side, size, size)
    return number.unsqueeze(0) == torch.arange(side**2).view(-1, 1, 1)
