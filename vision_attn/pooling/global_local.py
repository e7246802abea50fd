"""Global and local attention pooling, concatenated."""

from collections.abc import Iterator

from torch import Tensor

from vision_attn.pooling.base import Channels, Pooled, Pooling, PoolingFactory, Window
from vision_attn.pooling.concatenate import concatenate, concatenate_kinds, concatenate_windows
from vision_attn.pooling.global_attention import GlobalAttention
from vision_attn.pooling.local_gaussian import LocalGaussian


class GlobalLocal(Pooling):
    """Concatenation of a global and a local attention pooling.

    A single softmax over all places lets one strong region push the weights of all others to
    zero. Heads with local windows are not affected by places outside their windows. The context
    is the concatenation of both contexts.

    Args:
        channels: width of the feature map.
        global_pooling: builds the global pooling; None means `GlobalAttention`.
        local_pooling: builds the local pooling; None means `LocalGaussian`.

    >>> import torch
    >>> pooled = GlobalLocal(Channels(8))(torch.rand(1, 8, 3, 5))
    >>> pooled.weights.shape, pooled.context.shape   # 4 global and 4 local heads
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
        self.earlier_layers = max(
            self.global_pooling.earlier_layers, self.local_pooling.earlier_layers
        )

    def forward(self, features: Tensor, *earlier: Tensor) -> Pooled:
        """Weights (B, n1 + n2, h, w) and values (B, n1 + n2, d, h, w) of both poolings."""
        return concatenate(*(pooling(features, *maps) for pooling, maps in self.inputs(earlier)))

    def windows_of(self, features: Tensor, *earlier: Tensor) -> list[list[Window]]:
        """Attention windows of both poolings."""
        pooled = [pooling(features, *maps) for pooling, maps in self.inputs(earlier)]
        windows = [pooling.windows_of(features, *maps) for pooling, maps in self.inputs(earlier)]
        return concatenate_windows(pooled, windows)

    def head_kinds(self, features: Tensor, *earlier: Tensor) -> list[str]:
        """The kinds of heads of both poolings."""
        pooled = [pooling(features, *maps) for pooling, maps in self.inputs(earlier)]
        kinds = [pooling.head_kinds(features, *maps) for pooling, maps in self.inputs(earlier)]
        return concatenate_kinds(pooled, kinds)

    def inputs(self, earlier: tuple[Tensor, ...]) -> Iterator[tuple[Pooling, tuple[Tensor, ...]]]:
        """Each of the two poolings, with the feature maps of the earlier layers it uses."""
        for pooling in (self.global_pooling, self.local_pooling):
            yield pooling, earlier[len(earlier) - pooling.earlier_layers :]
