"""Cells of training images made plain: a model that has seen it can be asked what a cell is for."""

import torch
from torch import Tensor

from vision_attn.core.grid import cell_numbers

CELLS = 4  # a side, as single deletion asks


def delete_cells(images: Tensor, plain: Tensor, at_most: int) -> Tensor:
    """Images (B, 3, H, W) with 0 to `at_most` of their 4x4 cells in a plain colour, at random.

    Hesse et al. 2024 (arXiv 2407.11910) train so, with one cell, before they delete cells to see
    whether a map is right: else a plain cell would be something new to the model.

    Args:
        images: in [0, 1].
        plain: (1, 3, 1, 1), what stands for nothing.
        at_most: each image draws its own number of cells, all from none to this one alike.

    >>> image = torch.ones(1, 3, 8, 8)
    >>> torch.equal(delete_cells(image, torch.zeros(1, 3, 1, 1), at_most=0), image)
    True
    >>> half = torch.cat([delete_cells(image, 0 * image[..., :1, :1], 16) for _ in range(400)])
    >>> bool((half.mean() - 0.5).abs() < 0.05)
    True
    """
    device = images.device
    wanted = torch.randint(0, at_most + 1, (len(images), 1), device=device)
    ranks = torch.rand(len(images), CELLS**2, device=device).argsort(1)
    return without(images, plain, ranks < wanted)


def delete_one_cell(images: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) without one of their 4x4 cells, drawn at random; and its numbers (B,).

    >>> image = torch.ones(1, 3, 8, 8)
    >>> changed, number = delete_one_cell(image, torch.zeros(1, 3, 1, 1))
    >>> changed.sum() == 3 * (64 - 4)
    tensor(True)
    """
    number = torch.randint(0, CELLS**2, (len(images),), device=images.device)
    cells = torch.arange(CELLS**2, device=images.device)
    return without(images, plain, cells == number.unsqueeze(1)), number


def without(images: Tensor, plain: Tensor, deleted: Tensor) -> Tensor:
    """Images with those of their cells (B, 16) in a plain colour."""
    number = cell_numbers(CELLS, *images.shape[-2:]).to(images.device)
    return torch.where(deleted[:, number].unsqueeze(1), plain.to(images.dtype), images)
