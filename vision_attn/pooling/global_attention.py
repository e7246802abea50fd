"""Global attention pooling: learned queries with a softmax over all places of the grid."""

from torch import Tensor

from vision_attn.pooling.base import (
    KeyNorm,
    Pooled,
    Pooling,
    check_heads,
    learned_queries,
    softmax_over_places,
    split_heads,
)


class GlobalAttention(Pooling):
    r"""Multi-head attention pooling with learned queries.

    Head n has one learned query q_n; its scores are scaled dot products with the keys
    (Vaswani et al. 2017, arXiv 1706.03762), which are the layer-normed features themselves
    (no key projection: Psomas et al. 2025, "Attention, Please!", arXiv 2506.10178)::

        weights_n(i) = softmax_i(<q_n, LN(x_i)> / sqrt(C)),     values_n(i) = slice n of x_i

    Args:
        channels: width C of the feature map.
        heads: number n of queries; each weights its own slice of C/n channels.

    Raises:
        UserError: `heads` does not divide `channels`.

    >>> import torch
    >>> pool = GlobalAttention(channels=2, heads=1)
    >>> _ = pool.queries.data.copy_(torch.tensor([[2.0 ** 0.5, 0.0]]))
    >>> features = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    >>> # LN turns (1, 0) into (1, -1) and (0, 1) into (-1, 1): scores 1 and -1,
    >>> # weights 1/(1+e^-2) = .8808 and .1192
    >>> pool(features).weights
    tensor([[[[0.8808, 0.1192]]]], grad_fn=<ViewBackward0>)
    """

    head_kind = "global"

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads = heads
        self.context_channels = channels
        self.keys = KeyNorm(channels)
        self.queries = learned_queries(heads, channels)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C/n, h, w)."""
        scores = self.keys.scores(features, self.queries)
        return Pooled(softmax_over_places(scores), split_heads(features, self.heads))
