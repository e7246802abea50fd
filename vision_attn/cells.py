"""Images cut into square cells: which cell each pixel lies in."""

import torch
from torch import Tensor


def cell_numbers(side: int, height: int, width: int) -> Tensor:
    """The number of each pixel's cell (height, width): side x side of them, row by row.

    >>> cell_numbers(2, 3, 4)
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [2, 2, 3, 3]])
    """
    rows, columns = (torch.arange(pixels) * side // pixels for pixels in (height, width))
    return rows.unsqueeze(1) * side + columns
