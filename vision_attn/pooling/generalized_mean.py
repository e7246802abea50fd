"""Generalized-mean pooling (similar to GeM) as attention: weights are a learned power."""

import torch
from torch import Tensor, nn

from vision_attn.pooling.base import Pooled, Pooling, softmax_over_places, split_heads

EPSILON = 1e-6  # features are clamped to at least this, as in GeM


class GeneralizedMean(Pooling):
    r"""One head per channel, with weights proportional to a power of the channel's values.

    With a learned power p::

        weights_c(i) = x_ci^(p-1) / sum_j x_cj^(p-1),     x_ci clamped to at least 1e-6

    The context is therefore the Lehmer mean, sum x^p / sum x^(p-1): average pooling at p = 1, and
    closer to max pooling the larger p is. GeM (Radenovic et al. 2018, arXiv 1711.02512) is similar
    but takes the p-th root of a sum of powers. With a root *after* the sum, the context would no
    longer be a sum of contributions of the places.

    Args:
        channels: width of the feature map.
        power: initial value of the learned p; 3 as in GeM.

    >>> pool = GeneralizedMean(channels=1, power=3.0)
    >>> pooled = pool(torch.tensor([[[[1.0, 2.0]]]]))        # weights 1/5 and 4/5
    >>> pooled.context                                        # (1 + 8) / (1 + 4)
    tensor([[1.8000]], grad_fn=<ViewBackward0>)
    """

    head_kind = "channel"

    def __init__(self, channels: int, power: float = 3.0) -> None:
        super().__init__()
        self.context_channels = channels
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, C, h, w) and values (B, C, 1, h, w)."""
        # Normalized powers, computed as a softmax of logarithms: this never overflows.
        weights = softmax_over_places(features.clamp(min=EPSILON).log() * (self.power - 1))
        return Pooled(weights, split_heads(features, features.shape[1]))
