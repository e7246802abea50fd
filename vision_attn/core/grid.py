"""Maps and grids: cells of an image, sums of a map in cells, maps at the size of their images."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def cell_numbers(side: int, height: int, width: int) -> Tensor:
    """The number of each pixel's cell (height, width): side x side of them, row by row.

    >>> cell_numbers(2, 3, 4)
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [2, 2, 3, 3]])
    """
    rows, columns = (torch.arange(pixels) * side // pixels for pixels in (height, width))
    return rows.unsqueeze(1) * side + columns


def sums_in_cells(maps: Tensor, side: int) -> Tensor:
    """What of maps (..., h, w) lies in each of side x side cells (..., side, side).

    A place that lies in several cells is shared out by its area, so that sums stay what they are.

    >>> sums_in_cells(torch.tensor([[6.0, 3.0, 1.0]]), side=2)      # 6 + 3/2 and 3/2 + 1, halved
    tensor([[3.7500, 1.2500],
            [3.7500, 1.2500]])
    """
    rows, columns = (overlaps(side, places).to(maps) for places in maps.shape[-2:])
    return rows @ maps @ columns.T


def overlaps(cells: int, places: int) -> Tensor:
    """How much of each place lies in each cell (cells, places), along one side cut both ways.

    >>> overlaps(2, 3)
    tensor([[1.0000, 0.5000, 0.0000],
            [0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    starts = torch.arange(cells, dtype=torch.float64).unsqueeze(1) * places
    where = torch.arange(places, dtype=torch.float64) * cells  # in 1/(cells * places) of the side
    shared = torch.minimum(starts + places, where + cells) - torch.maximum(starts, where)
    return shared.clamp(min=0) / cells


def upsample(heatmaps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, h, w) at the size of their images (B, height, width), each cell over its own pixels.

    Cells are areas, not points (`align_corners=False`): the middle of cell k of n lies at
    (k + 1/2)/n of the side.

    >>> upsample(torch.tensor([[[0.0, 1.0]]]), 1, 4)
    tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    grown = interpolate(
        heatmaps.unsqueeze(1).float(), size=(height, width), mode="bilinear", align_corners=False
    )
    return grown.squeeze(1)
