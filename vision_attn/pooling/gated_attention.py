"""Gated attention pooling from multiple-instance learning (MIL)."""

import torch
from torch import Tensor, nn

from vision_attn.pooling.base import Pooled, Pooling, check_heads, softmax_over_places, split_heads


class GatedAttention(Pooling):
    r"""Gated attention for multiple-instance learning (Ilse et al. 2018, arXiv 1802.04712).

    A small gated network scores each place from the features of that place alone::

        weights_n(i) = softmax_i(w_n . (tanh(V x_i) * sigmoid(U x_i))),     values(i) = x_i

    Args:
        channels: width C of the feature map.
        heads: number n of score vectors w_n; each weights its own slice of C/n channels.
        hidden: hidden width of the gated network; 128 as in the paper.

    Raises:
        UserError: `heads` does not divide `channels`.

    >>> pool = GatedAttention(channels=1, hidden=1)
    >>> for layer in (pool.content, pool.gate, pool.score):
    ...     _ = nn.init.ones_(layer.weight)
    ...     _ = layer.bias is None or nn.init.zeros_(layer.bias)
    >>> # scores tanh(0) * sigmoid(0) = 0 and tanh(1) * sigmoid(1) = .7616 * .7311 = .5568
    >>> pool(torch.tensor([[[[0.0, 1.0]]]])).weights
    tensor([[[[0.3643, 0.6357]]]], grad_fn=<ViewBackward0>)
    """

    head_kind = "gated"

    def __init__(self, channels: int, heads: int = 1, hidden: int = 128) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads = heads
        self.context_channels = channels
        self.content = nn.Conv2d(channels, hidden, 1)
        self.gate = nn.Conv2d(channels, hidden, 1)
        self.score = nn.Conv2d(hidden, heads, 1, bias=False)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C/n, h, w)."""
        hidden = torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features))
        weights = softmax_over_places(self.score(hidden))
        return Pooled(weights, split_heads(features, self.heads))
