"""Square regions of an image, for methods that ablate whole regions."""

from torch import Tensor

from vision_attn.core.grid import cell_numbers

REGIONS = 7  # per side


def regions(height: int, width: int) -> Tensor:
    """Compute the region index of each pixel (1, 1, height, width): 7 x 7 squares, row by row.

    >>> regions(14, 7)[0, 0, :, 0].tolist()
    [0, 0, 7, 7, 14, 14, 21, 21, 28, 28, 35, 35, 42, 42]
    """
    return cell_numbers(REGIONS, height, width)[None, None]
