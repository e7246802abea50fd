"""Global and local attention side by side."""

import math

import torch
from torch import Tensor

from vision_attn.pooling.base import Pooled, Pooling, PoolingFactory
from vision_attn.pooling.global_attention import GlobalAttention
from vision_attn.pooling.local_gaussian import LocalGaussian


def with_head_width(pooled: Pooled, channels: int) -> Pooled:
    """The same pooling in narrower heads: a head of d channels as d/channels heads of one weight.

    >>> whole = Pooled(torch.ones(1, 1, 1, 1), torch.tensor([3.0, 5.0]).view(1, 1, 2, 1, 1))
    >>> with_head_width(whole, 1).context
    tensor([[3., 5.]])
    """
    times = pooled.values.shape[2] // channels
    values = pooled.values.unflatten(2, (times, channels)).flatten(1, 2)
    return Pooled(pooled.weights.repeat_interleave(times, dim=1), values)


class GlobalLocal(Pooling):
    """Two poolings side by side: one sees the whole, one cannot be silenced from afar.

    A single softmax over all places lets one region silence all others; heads that look through
    local windows keep their say. The context is the two contexts, one after the other.

    Args:
        channels: width of the feature map.
        whole: the global half; None takes `GlobalAttention`.
        parts: the local half; None takes `LocalGaussian`.

    >>> pooled = GlobalLocal(channels=8)(torch.rand(1, 8, 3, 5))
    >>> pooled.weights.shape, pooled.context.shape   # 4 global heads and 4 glimpses
    (torch.Size([1, 8, 3, 5]), torch.Size([1, 16]))
    """

    def __init__(
        self,
        channels: int,
        whole: PoolingFactory | None = None,
        parts: PoolingFactory | None = None,
    ) -> None:
        super().__init__()
        self.whole = (whole or GlobalAttention)(channels)
        self.parts = (parts or LocalGaussian)(channels)
        self.context_channels = self.whole.context_channels + self.parts.context_channels

    def forward(self, features: Tensor) -> Pooled:
        """Weigh places twice: weights (B, n1 + n2, h, w), values (B, n1 + n2, d, h, w)."""
        whole, parts = self.whole(features), self.parts(features)
        channels = math.gcd(whole.values.shape[2], parts.values.shape[2])
        halves = with_head_width(whole, channels), with_head_width(parts, channels)
        return Pooled(
            torch.cat([half.weights for half in halves], dim=1),
            torch.cat([half.values for half in halves], dim=1),
        )
