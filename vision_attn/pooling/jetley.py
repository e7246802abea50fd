"""Multi-layer attention pooling of Jetley et al., "Learn to Pay Attention"."""

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
from vision_attn.pooling.concatenate import concatenate, concatenate_kinds


class DotProduct(nn.Module):
    """Dot-product compatibility <l_i, W g> of local features with the global feature vector.

    W projects the global vector to the width of the layer. It is left out if the widths are equal.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        same_width = width == channels
        self.match = nn.Identity() if same_width else nn.Linear(channels, width, bias=False)

    def forward(self, features: Tensor, global_vector: Tensor) -> Tensor:
        """Scores (B, 1, h, w) of features (B, width, h, w) and the global vector (B, C)."""
        query = self.match(global_vector).unsqueeze(1)
        return (query @ features.flatten(2)).unflatten(2, features.shape[-2:])


class Parametrized(nn.Module):
    """Parametrized compatibility <u, l_i + W g> with a learned vector u.

    <u, W g> is the same for all places, so it cancels in the softmax over places. What remains is
    one learned query.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.query = learned_queries(1, width)

    def forward(self, features: Tensor, global_vector: Tensor) -> Tensor:
        """Scores (B, 1, h, w) of features (B, width, h, w)."""
        return (self.query @ features.flatten(2)).unflatten(2, features.shape[-2:])


COMPATIBILITY = {"dot_product": DotProduct, "parametrized": Parametrized}


class Jetley(Pooling):
    r"""Attention pooling at several layers (Jetley et al. 2018, arXiv 1804.02391).

    The global feature vector g is the mean of the last layer's features. At each layer s, the
    local features l_i are weighted by their compatibility c with g. The context is the
    concatenation of the weighted sums of all layers::

        weights_s(i) = softmax_i(c_s(l_i, g)),     values_s(i) = l_i

    All layers are upsampled to the finest grid: a place of a coarser grid divides its weight among
    the cells that it covers. As in the paper, g itself does not reach the head. The paper takes g
    from a fully connected layer; here it is the mean, so that the backbone is unchanged.

    Args:
        channels: width of the last feature map, with the widths of the earlier ones.
        layers: number of the backbone's last stages to attend to; 2 and 3 in the paper.
        compatibility: `parametrized` (pc), with which the paper's best networks were trained, or
            `dot_product` (dp), which is not scaled, so that many channels saturate its softmax.

    Raises:
        UserError: the backbone has fewer stages than `layers`, or `layers` is less than 1.

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
        available = [*channels.earlier_channels, int(channels)]
        if not 1 <= layers <= len(available):
            raise UserError(
                f"jetley: layers must be 1 to {len(available)} with this backbone, not {layers}."
            )
        widths = available[-layers:]
        self.earlier_layers = layers - 1
        self.context_channels = sum(widths)
        build = COMPATIBILITY[compatibility]
        self.compatibility = nn.ModuleList(build(width, int(channels)) for width in widths)

    def forward(self, features: Tensor, *earlier: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, d, h, w) on the finest of the grids."""
        return concatenate(*self.by_layer(features, *earlier))

    def by_layer(self, features: Tensor, *earlier: Tensor) -> list[Pooled]:
        """Attention over each layer on its own grid."""
        global_vector = features.mean((-2, -1))
        layers = [*earlier, features]
        return [
            Pooled(softmax_over_places(score(layer, global_vector)), layer.unsqueeze(1))
            for layer, score in zip(layers, self.compatibility, strict=True)
        ]

    def head_kinds(self, features: Tensor, *earlier: Tensor) -> list[str]:
        """Each head is a layer, the finest grid first."""
        pooled = self.by_layer(features, *earlier)
        return concatenate_kinds(pooled, [["layer"]] * len(pooled))
