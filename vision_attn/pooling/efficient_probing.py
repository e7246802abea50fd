"""Efficient probing (EP): attentive probing with learned queries and no key projection."""

import torch
from torch import Tensor, nn

from vision_attn.pooling.base import Pooled, Pooling, check_heads, softmax_over_places, split_heads


class EfficientProbing(Pooling):
    r"""Attentive probing without key projections (Psomas et al. 2025, arXiv 2506.10178).

    Scores are dot products of learned queries with the raw features. One projection W gives the
    values, whose channels are then split among the queries::

        weights_n(i) = softmax_i(<u_n, x_i> / sqrt(C)),     values_n(i) = slice n of W x_i

    Args:
        channels: width C of the feature map.
        heads: number n of queries; each weights its own slice of C/n channels.

    Raises:
        UserError: `heads` does not divide `channels`.

    >>> pool = EfficientProbing(channels=1, heads=1)
    >>> _ = nn.init.ones_(pool.queries), nn.init.constant_(pool.value.weight, 2.0)
    >>> pooled = pool(torch.tensor([[[[0.0, 1.0]]]]))      # scores 0 and 1: weights .2689, .7311
    >>> pooled.context                                       # .7311 * 2
    tensor([[1.4621]], grad_fn=<ViewBackward0>)
    """

    head_kind = "global"

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads = heads
        self.context_channels = channels
        self.queries = nn.Parameter(torch.randn(heads, channels) * 0.02)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C/n, h, w)."""
        scale = features.shape[1] ** -0.5
        scores = torch.einsum("nc,bchw->bnhw", self.queries, features) * scale
        return Pooled(softmax_over_places(scores), split_heads(self.value(features), self.heads))
