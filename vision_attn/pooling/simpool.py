"""SimPool attention pooling, in its linear form: the query is the mean feature."""

import torch
from torch import Tensor, nn

from vision_attn.pooling.base import (
    KeyNorm,
    Pooled,
    Pooling,
    check_heads,
    softmax_over_places,
    split_heads,
)


class SimPool(Pooling):
    r"""SimPool (Psomas et al. 2023, arXiv 2309.06891) without the power after the sum.

    The mean feature gives the query; keys and values come from the layer-normed features::

        q = W_q mean_j x_j,   k_i = W_k LN(x_i),   v_i = LN(x_i)
        weights_n(i) = softmax_i(<q_n, k_ni> / sqrt(C/n)),     values_n(i) = slice n of v_i

    This is the paper's variant without gamma. With gamma, a root is taken after the sum, and the
    context is no longer a sum of contributions of the places. As the values are the layer-normed
    features, the evidence is exact with respect to those.

    Args:
        channels: width C of the feature map.
        heads: number n of attention heads; 1 as in the paper.

    Raises:
        UserError: `heads` does not divide `channels`.

    >>> pool = SimPool(channels=2)
    >>> for layer in (pool.query, pool.key):
    ...     _ = nn.init.eye_(layer.weight)
    >>> # the mean is (3/2, 1/2); both keys are (1, -1) after LN, so both scores are equal
    >>> pool(torch.tensor([[[[2.0, 1.0]], [[1.0, 0.0]]]])).weights
    tensor([[[[0.5000, 0.5000]]]], grad_fn=<ViewBackward0>)
    """

    head_kind = "global"

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads = heads
        self.context_channels = channels
        self.norm = KeyNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C/n, h, w)."""
        normed = self.norm(features)
        values = split_heads(normed, self.heads)
        queries = self.query(features.mean((-2, -1))).unflatten(1, (self.heads, -1))
        # <q, W x> = <W^T q, x>: projecting the query is cheaper than projecting all places.
        by_head = self.key.weight.unflatten(0, (self.heads, -1))
        projected = torch.einsum("bnd,ndc->bnc", queries, by_head)
        scale = queries.shape[-1] ** -0.5
        weights = softmax_over_places(torch.einsum("bnc,bchw->bnhw", projected, normed) * scale)
        return Pooled(weights, values)
