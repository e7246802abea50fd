"""Cell-deletion augmentation (Hesse et al. 2024): fill random cells of training images.

Deletion metrics measure what a cell is worth by filling it with a plain color. For a model trained
with this augmentation, such images are in-distribution.
"""

import torch
from torch import Tensor

from vision_attn.core.grid import cell_numbers

CELLS = 4  # cells per side, the same grid as in the metric `single_deletion`


def delete_cells(images: Tensor, fill: Tensor, at_most: int) -> Tensor:
    """Fill a random number of the 4x4 cells of each image, from 0 to `at_most`.

    Hesse et al. 2024 (arXiv 2407.11910) train like this, with one cell, before they delete cells
    to evaluate heatmaps: otherwise a filled cell would be out-of-distribution for the model.

    Args:
        images: (B, 3, H, W) in [0, 1].
        fill: (1, 3, 1, 1), the color of deleted cells.
        at_most: the largest number of cells; each image draws its own number, uniformly.

    >>> image = torch.ones(1, 3, 8, 8)
    >>> torch.equal(delete_cells(image, torch.zeros(1, 3, 1, 1), at_most=0), image)
    True
    >>> half = torch.cat([delete_cells(image, 0 * image[..., :1, :1], 16) for _ in range(400)])
    >>> bool((half.mean() - 0.5).abs() < 0.05)
    True
    """
    device = images.device
    counts = torch.randint(0, at_most + 1, (len(images), 1), device=device)
    ranks = torch.rand(len(images), CELLS**2, device=device).argsort(1)
    return fill_cells(images, fill, ranks < counts)


def delete_one_cell(images: Tensor, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Fill one random cell of each image (B, 3, H, W); also returns the cell numbers (B,).

    >>> image = torch.ones(1, 3, 8, 8)
    >>> changed, number = delete_one_cell(image, torch.zeros(1, 3, 1, 1))
    >>> changed.sum() == 3 * (64 - 4)
    tensor(True)
    """
    number = torch.randint(0, CELLS**2, (len(images),), device=images.device)
    cells = torch.arange(CELLS**2, device=images.device)
    return fill_cells(images, fill, cells == number.unsqueeze(1)), number


def fill_cells(images: Tensor, fill: Tensor, deleted: Tensor) -> Tensor:
    """Replace the cells of each image that are True in the mask `deleted` (B, 16) by a color."""
    number = cell_numbers(CELLS, *images.shape[-2:]).to(images.device)
    return torch.where(deleted[:, number].unsqueeze(1), fill.to(images.dtype), images)
