"""Attention over two stages of the backbone: the last one, and the one before it."""

import torch
from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.pooling.base import (
    Channels,
    KeyNorm,
    Pooled,
    Pooling,
    PoolingFactory,
    Window,
    learned_queries,
    softmax_over_places,
)
from vision_attn.pooling.concatenate import concatenate, concatenate_kinds, concatenate_windows
from vision_attn.pooling.global_local import GlobalLocal

MOST_HEADS = 64


class WideAttention(nn.Module):
    """Learned queries over standardized features, each of which weights all channels.

    Args:
        channels: width C of the feature map.
        heads: number n of queries.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))
        self.keys = KeyNorm(channels)
        self.queries = learned_queries(heads, channels)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C, h, w)."""
        standardized = (features - self.mean) / self.std
        weights = softmax_over_places(self.keys.scores(standardized, self.queries))
        return Pooled(weights, standardized.unsqueeze(1).expand(-1, len(self.queries), -1, -1, -1))


class TwoStages(Pooling):
    r"""Attention over the last stage of the backbone and over the stage before it.

    The stage before the last has a finer grid and simpler features, in which fewer places tell the
    classes apart: its average says little, but attention finds them. Head n has one learned query
    q_n and, since the stage is narrow, weights all of its channels::

        z_i = (x_i - mean) / std
        weights_n(i) = softmax_i(<q_n, LN(z_i)> / sqrt(C)),     values_n(i) = z_i

    Mean and standard deviation per channel are constants: the probe of `fit` takes them from the
    training images if it adds the stage, else they are 0 and 1. The context is that of the last
    stage, followed by these. Both are put on the finer grid: a place of the coarser one divides its
    weight among the cells that it covers, so the evidence still adds up exactly.

    Args:
        channels: width of the last feature map, with the widths of the earlier ones.
        last: builds the pooling of the last stage; None means `GlobalLocal`.
        heads: number n of queries on the stage before, 1 to 64.

    Raises:
        UserError: the backbone has a single stage, `last` uses earlier stages itself, or `heads` is
            out of its range.

    >>> pool = TwoStages(Channels(8, earlier_channels=(3,)), heads=2)
    >>> pooled = pool(torch.rand(1, 8, 3, 5), torch.rand(1, 3, 6, 10))
    >>> pooled.weights.shape[-2:], pooled.context.shape   # 8 + 8 of `GlobalLocal`, and 2 x 3
    (torch.Size([6, 10]), torch.Size([1, 22]))
    """

    earlier_layers = 1

    def __init__(
        self, channels: Channels, last: PoolingFactory | None = None, heads: int = 8
    ) -> None:
        super().__init__()
        if not channels.earlier_channels:
            raise UserError("two_stages: this backbone has a single stage.")
        if not 1 <= heads <= MOST_HEADS:
            raise UserError(f"two_stages: heads must be 1 to {MOST_HEADS}, not {heads}.")
        self.last = (last or GlobalLocal)(channels)
        if self.last.earlier_layers:
            raise UserError("two_stages: the pooling of the last stage uses earlier ones itself.")
        width = channels.earlier_channels[-1]
        self.earlier = WideAttention(width, heads)
        self.context_channels = self.last.context_channels + heads * width

    def forward(self, features: Tensor, earlier: Tensor) -> Pooled:  # type: ignore[override]
        """Weights (B, n, h, w) and values (B, n, d, h, w) of both stages, on the finer grid."""
        return concatenate(self.last(features), self.earlier(earlier))

    def windows_of(self, features: Tensor, *earlier: Tensor) -> list[list[Window]]:
        """The attention windows of the pooling of the last stage."""
        pooled = [self.last(features), self.earlier(*earlier)]
        none: list[list[Window]] = [[] for _ in features]
        return concatenate_windows(pooled, [self.last.windows_of(features), none])

    def head_kinds(self, features: Tensor, *earlier: Tensor) -> list[str]:
        """The kinds of heads of the last stage, and "earlier stage"."""
        pooled = [self.last(features), self.earlier(*earlier)]
        of_earlier = ["earlier stage"] * len(self.earlier.queries)
        return concatenate_kinds(pooled, [self.last.head_kinds(features), of_earlier])
