"""Maps at the size of their images."""

from torch import Tensor
from torch.nn.functional import interpolate


def upsample(heatmaps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, h, w) at the size of their images (B, height, width), each cell over its own pixels.

    Cells are areas, not points (`align_corners=False`): the middle of cell k of n lies at
    (k + 1/2)/n of the side.

    >>> import torch
    >>> upsample(torch.tensor([[[0.0, 1.0]]]), 1, 4)
    tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    grown = interpolate(
        heatmaps.unsqueeze(1).float(), size=(height, width), mode="bilinear", align_corners=False
    )
    return grown.squeeze(1)
