"""Grid geometry: the cell of each pixel, sums of a map per cell, upsampling maps to image size."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def cell_numbers(side: int, height: int, width: int) -> Tensor:
    """The index of the cell of each pixel (height, width), for side x side cells, row by row.

    >>> cell_numbers(2, 3, 4)
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [2, 2, 3, 3]])
    """
    rows, columns = (torch.arange(pixels) * side // pixels for pixels in (height, width))
    return rows.unsqueeze(1) * side + columns


def sums_in_cells(maps: Tensor, side: int) -> Tensor:
    """Sum maps (..., h, w) over side x side cells: (..., side, side).

    A place that overlaps several cells is split among them by area, so the total sum is kept.

    >>> sums_in_cells(torch.tensor([[6.0, 3.0, 1.0]]), side=2)      # 6 + 3/2 and 3/2 + 1, halved
    tensor([[3.7500, 1.2500],
            [3.7500, 1.2500]])
    """
    rows, columns = (overlaps(side, places).to(maps) for places in maps.shape[-2:])
    return rows @ maps @ columns.T


def overlaps(cells: int, places: int) -> Tensor:
    """The share of each place that lies in each cell (cells, places), along one side.

    >>> overlaps(2, 3)
    tensor([[1.0000, 0.5000, 0.0000],
            [0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    starts = torch.arange(cells, dtype=torch.float64).unsqueeze(1) * places
    # Positions are in units of 1/(cells * places) of the side.
    place_starts = torch.arange(places, dtype=torch.float64) * cells
    ends = torch.minimum(starts + places, place_starts + cells)
    return (ends - torch.maximum(starts, place_starts)).clamp(min=0) / cells


def upsample(heatmaps: Tensor, height: int, width: int) -> Tensor:
    """Upsample maps (B, h, w) bilinearly to the size of their images (B, height, width).

    Cells are areas, not points (`align_corners=False`): the middle of cell k of n lies at
    (k + 1/2)/n of the side.

    >>> upsample(torch.tensor([[[0.0, 1.0]]]), 1, 4)
    tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    upsampled = interpolate(
        heatmaps.unsqueeze(1).float(), size=(height, width), mode="bilinear", align_corners=False
    )
    return upsampled.squeeze(1)
