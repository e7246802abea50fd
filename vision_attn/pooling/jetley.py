"""Learn to pay attention: local features of several layers against the global vector."""

from typing import Literal

from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.pooling.base import (
    Channels,
    Pooled,
    Pooling,
    learned_queries,
    softmax_over_places,
)
from vision_attn.pooling.concatenate import concatenate


class DotProduct(nn.Module):
    """Compatibility <l_i, W g>: how far a place agrees with the whole.

    W brings the global vector to the width of the layer, and is left out where they are alike.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        alike = width == channels
        self.match = nn.Identity() if alike else nn.Linear(channels, width, bias=False)

    def forward(self, places: Tensor, whole: Tensor) -> Tensor:
        """Scores (B, 1, h, w) of places (B, width, h, w) against the whole (B, C)."""
        asked = self.match(whole).unsqueeze(1)
        return (asked @ places.flatten(2)).unflatten(2, places.shape[-2:])


class Parametrized(nn.Module):
    """Compatibility <u, l_i + W g> with a learned u.

    <u, W g> is the same for all places, so the softmax over places forgets it: what is left is
    one learned query.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.query = learned_queries(1, width)

    def forward(self, places: Tensor, whole: Tensor) -> Tensor:
        """Scores (B, 1, h, w) of places (B, width, h, w)."""
        return (self.query @ places.flatten(2)).unflatten(2, places.shape[-2:])


COMPATIBILITY = {"dot_product": DotProduct, "parametrized": Parametrized}


class Jetley(Pooling):
    r"""Attention at several layers (Jetley et al. 2018, arXiv 1804.02391), contexts concatenated.

    The whole is the mean g of the last layer. At each layer s, places l_i are weighed by their
    compatibility c with it, and layer s hands over the sum::

        weights_s(i) = softmax_i(c_s(l_i, g)),     values_s(i) = l_i

    All layers are shown on the finest grid: a place of a coarser one shares its weight among the
    cells it covers. As in the paper, g itself does not reach the head. The paper takes g from a
    fully connected layer; here it is the mean, so that the backbone stays what it is.

    Args:
        channels: width of the feature map, and those of the layers before it.
        layers: how many of the backbone's last stages are attended; 2 and 3 in the paper.
        compatibility: `parametrized` (pc), with which the paper's best networks were trained, or
            `dot_product` (dp). The latter is not scaled: many channels saturate its softmax.

    Raises:
        UserError: the backbone has fewer layers.

    >>> import torch
    >>> pool = Jetley(Channels(2), layers=1, compatibility="dot_product")
    >>> # the mean is (1/2, 1): scores 1 and 3/2
    >>> pool(torch.tensor([[[[0.0, 1.0]], [[1.0, 1.0]]]])).weights
    tensor([[[[0.3775, 0.6225]]]])
    """

    def __init__(
        self,
        channels: Channels,
        layers: int = 2,
        compatibility: Literal["dot_product", "parametrized"] = "parametrized",
    ) -> None:
        super().__init__()
        available = [*channels.finer, int(channels)]
        if not 1 <= layers <= len(available):
            raise UserError(f"this backbone has 1 to {len(available)} layers, not {layers}.")
        widths = available[-layers:]
        self.finer = layers - 1
        self.context_channels = sum(widths)
        build = COMPATIBILITY[compatibility]
        self.compatibility = nn.ModuleList(build(width, int(channels)) for width in widths)

    def forward(self, features: Tensor, *finer: Tensor) -> Pooled:
        """Weights (B, n, h, w) and values (B, n, d, h, w) on the finest of the grids."""
        whole = features.mean((-2, -1))
        grids = [*finer, features]
        return concatenate(
            *(
                Pooled(softmax_over_places(compatible(places, whole)), places.unsqueeze(1))
                for places, compatible in zip(grids, self.compatibility, strict=True)
            )
        )
