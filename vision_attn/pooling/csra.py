"""Class-specific residual attention (CSRA): separate attention weights for each class."""

import math

import torch
from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.pooling.base import (
    Channels,
    Pooled,
    Pooling,
    hardmax_over_places,
    softmax_over_places,
)

TEMPERATURES = {
    1: (1.0,),
    2: (1.0, math.inf),
    4: (1.0, 2.0, 4.0, math.inf),
    6: (1.0, 2.0, 3.0, 4.0, 5.0, math.inf),
    8: (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, math.inf),
}
"""Temperatures T in the paper for each number of heads; infinity is max pooling."""


class ClassSpecificResidualAttention(Pooling):
    r"""CSRA (Zhu & Wu 2021, arXiv 2108.02456): class-specific attention added to the mean.

    Each class c has its own vector w_c in each head. Its score at a place serves both as the
    attention score and as the value::

        s_c(i) = <w_c, x_i> / |w_c|
        logit_c = sum over heads of mean_i s_c(i) + lambda sum_i softmax_i(T s_c(i)) s_c(i)

    As weights times values, with N places::

        weights_c(i) = (1/N + lambda softmax_i(T s_c(i))) / (1 + lambda)
        values_c(i) = (1 + lambda) s_c(i)

    There is one head of width 1 for each class and temperature. The linear head only sums the
    heads of a class: its weights are fixed. Its bias is learned; the paper has no bias.

    Args:
        channels: width C of the feature map, with the number of classes.
        heads: number of temperatures: 1, 2, 4, 6 or 8, as in the paper.
        attention: lambda, the weight of the attention relative to the mean.

    Raises:
        UserError: the paper has no such number of heads, or `attention` is negative.

    >>> pool = ClassSpecificResidualAttention(Channels(1, classes=1), heads=1, attention=1.0)
    >>> _ = nn.init.constant_(pool.classes, 5.0)                # has length 1 after division by |w|
    >>> pooled = pool(torch.tensor([[[[0.0, 1.0]]]]))   # softmax .2689, .7311; halved, plus 1/4
    >>> pooled.weights
    tensor([[[[0.3845, 0.6155]]]], grad_fn=<DivBackward0>)
    >>> pooled.context                                      # 1/2 + .7311
    tensor([[1.2311]], grad_fn=<ViewBackward0>)
    """

    head_kind = "class and temperature"

    def __init__(self, channels: Channels, heads: int = 4, attention: float = 0.4) -> None:
        super().__init__()
        if heads not in TEMPERATURES:
            raise UserError(f"csra: heads must be 1, 2, 4, 6 or 8, not {heads}.")
        if attention < 0:
            raise UserError(f"csra: attention must be at least 0, not {attention}.")
        self.temperatures = TEMPERATURES[heads]
        self.attention = attention
        self.classes = nn.Parameter(torch.empty(heads * channels.classes, channels))
        nn.init.kaiming_uniform_(self.classes, a=math.sqrt(5))  # PyTorch's default for convolutions
        self.context_channels = heads * channels.classes

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, heads*K, h, w) and values (B, heads*K, 1, h, w)."""
        directions = nn.functional.normalize(self.classes, dim=1)
        scores = torch.einsum("nc,bchw->bnhw", directions, features)
        by_temperature = zip(
            self.temperatures, scores.chunk(len(self.temperatures), dim=1), strict=True
        )
        attended = torch.cat(
            [
                softmax_over_places(t * s) if math.isfinite(t) else hardmax_over_places(s)
                for t, s in by_temperature
            ],
            dim=1,
        )
        uniform = 1 / (features.shape[-2] * features.shape[-1])
        weights = (uniform + self.attention * attended) / (1 + self.attention)
        return Pooled(weights, (1 + self.attention) * scores.unsqueeze(2))

    def make_head(self, num_classes: int) -> nn.Linear:
        """Create a linear head with fixed weights that sums the heads of each class."""
        head = super().make_head(num_classes)
        same_class = torch.eye(num_classes).repeat(1, len(self.temperatures))
        head.weight = nn.Parameter(same_class, requires_grad=False)
        nn.init.zeros_(head.bias)
        return head
