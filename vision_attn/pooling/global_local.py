"""Global and local attention side by side."""

from collections.abc import Iterator

from torch import Tensor

from vision_attn.pooling.base import Channels, Pooled, Pooling, PoolingFactory, Window
from vision_attn.pooling.concatenate import concatenate, concatenate_windows
from vision_attn.pooling.global_attention import GlobalAttention
from vision_attn.pooling.local_gaussian import LocalGaussian


class GlobalLocal(Pooling):
    """Two poolings side by side: one sees the whole, one cannot be silenced from afar.

    A single softmax over all places lets one region silence all others; heads that look through
    local windows keep their say. The context is the two contexts, one after the other.

    Args:
        channels: width of the feature map.
        whole: the global half; None takes `GlobalAttention`.
        parts: the local half; None takes `LocalGaussian`.

    >>> import torch
    >>> pooled = GlobalLocal(Channels(8))(torch.rand(1, 8, 3, 5))
    >>> pooled.weights.shape, pooled.context.shape   # 4 global heads and 4 glimpses
    (torch.Size([1, 8, 3, 5]), torch.Size([1, 16]))
    """

    def __init__(
        self,
        channels: Channels,
        global_pooling: PoolingFactory | None = None,
        local_pooling: PoolingFactory | None = None,
    ) -> None:
        super().__init__()
        self.global_pooling = (global_pooling or GlobalAttention)(channels)
        self.local_pooling = (local_pooling or LocalGaussian)(channels)
        self.context_channels = (
            self.global_pooling.context_channels + self.local_pooling.context_channels
        )
        self.finer = max(self.global_pooling.finer, self.local_pooling.finer)

    def forward(self, features: Tensor, *finer: Tensor) -> Pooled:
        """Weigh places twice: weights (B, n1 + n2, h, w), values (B, n1 + n2, d, h, w)."""
        return concatenate(*(half(features, *its) for half, its in self.halves(finer)))

    def windows_of(self, features: Tensor, *finer: Tensor) -> list[list[Window]]:
        """Those of both halves."""
        pooled = [half(features, *its) for half, its in self.halves(finer)]
        windows = [half.windows_of(features, *its) for half, its in self.halves(finer)]
        return concatenate_windows(pooled, windows)

    def halves(self, finer: tuple[Tensor, ...]) -> Iterator[tuple[Pooling, tuple[Tensor, ...]]]:
        """Each half, with the finer features that it asks for."""
        for half in (self.global_pooling, self.local_pooling):
            yield half, finer[len(finer) - half.finer :]
