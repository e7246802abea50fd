"""Class-specific residual attention: each class looks where it finds itself."""

import math

import torch
from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.pooling.base import (
    Channels,
    Pooled,
    Pooling,
    largest_over_places,
    softmax_over_places,
)

TEMPERATURES = {
    1: (1.0,),
    2: (1.0, math.inf),
    4: (1.0, 2.0, 4.0, math.inf),
    6: (1.0, 2.0, 3.0, 4.0, 5.0, math.inf),
    8: (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, math.inf),
}
"""Temperatures T of the paper's sets of heads; the infinite one is max pooling."""


class ClassSpecificResidualAttention(Pooling):
    r"""CSRA (Zhu & Wu 2021, arXiv 2108.02456): weights by class, beside the mean.

    Each class c has a vector w_c of its own in each head; its score at a place is at once what
    the place is asked and what it answers::

        s_c(i) = <w_c, x_i> / |w_c|
        logit_c = sum over heads of mean_i s_c(i) + lambda sum_i softmax_i(T s_c(i)) s_c(i)

    As weights times values, with N places::

        weights_c(i) = (1/N + lambda softmax_i(T s_c(i))) / (1 + lambda)
        values_c(i) = (1 + lambda) s_c(i)

    There is one head of width 1 for each class and temperature. The linear head only adds up
    those of a class; its weights are fixed, and its bias is what the paper does without.

    Args:
        channels: width C of the feature map, and the number of classes.
        heads: number of temperatures: 1, 2, 4, 6 or 8, as in the paper.
        attention: lambda, how much attention counts beside the mean.

    Raises:
        UserError: the paper has no set of that many heads, or `attention` is negative.

    >>> pool = ClassSpecificResidualAttention(Channels(1, classes=1), heads=1, attention=1.0)
    >>> _ = nn.init.constant_(pool.classes, 5.0)                # of length 1 once divided by |w|
    >>> pooled = pool(torch.tensor([[[[0.0, 1.0]]]]))   # softmax .2689, .7311; halved, plus 1/4
    >>> pooled.weights
    tensor([[[[0.3845, 0.6155]]]], grad_fn=<DivBackward0>)
    >>> pooled.context                                      # 1/2 + .7311
    tensor([[1.2311]], grad_fn=<ViewBackward0>)
    """

    def __init__(self, channels: Channels, heads: int = 4, attention: float = 0.4) -> None:
        super().__init__()
        if heads not in TEMPERATURES:
            raise UserError(f"csra has 1, 2, 4, 6 or 8 heads, not {heads}.")
        if attention < 0:
            raise UserError(f"csra's attention is at least 0, not {attention}.")
        self.temperatures = TEMPERATURES[heads]
        self.attention = attention
        self.classes = nn.Parameter(torch.empty(heads * channels.classes, channels))
        nn.init.kaiming_uniform_(self.classes, a=math.sqrt(5))  # as a convolution begins
        self.context_channels = heads * channels.classes

    def forward(self, features: Tensor) -> Pooled:
        """Weights (B, heads*K, h, w), values (B, heads*K, 1, h, w)."""
        directions = nn.functional.normalize(self.classes, dim=1)
        scores = torch.einsum("nc,bchw->bnhw", directions, features)
        by_temperature = zip(
            self.temperatures, scores.chunk(len(self.temperatures), dim=1), strict=True
        )
        attended = torch.cat(
            [
                softmax_over_places(t * s) if math.isfinite(t) else largest_over_places(s)
                for t, s in by_temperature
            ],
            dim=1,
        )
        uniform = 1 / (features.shape[-2] * features.shape[-1])
        weights = (uniform + self.attention * attended) / (1 + self.attention)
        return Pooled(weights, (1 + self.attention) * scores.unsqueeze(2))

    def make_head(self, num_classes: int) -> nn.Linear:
        """A head that adds up the heads of each class."""
        head = super().make_head(num_classes)
        own = torch.eye(num_classes).repeat(1, len(self.temperatures))
        head.weight = nn.Parameter(own, requires_grad=False)
        nn.init.zeros_(head.bias)
        return head
