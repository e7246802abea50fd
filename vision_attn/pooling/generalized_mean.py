"""The generalised mean as attention: strong features weigh more, by a learned power."""

import torch
from torch import Tensor, nn

from vision_attn.pooling.base import Pooled, Pooling, softmax_over_places, split_heads

SMALLEST = 1e-6  # features are taken as at least this, as in GeM


class GeneralizedMean(Pooling):
    r"""One head a channel, with weights proportional to a power of the channel's values.

    With a learned power p::

        weights_c(i) = x_ci^(p-1) / sum_j x_cj^(p-1),     x_ci taken as at least 1e-6

    The context is so the Lehmer mean, sum x^p / sum x^(p-1): average pooling at p = 1, towards
    max pooling as p grows. GeM (Radenovic et al. 2018, arXiv 1711.02512) weighs alike but takes
    the p-th root of a sum of powers, a power *after* the sum, which no place's share survives.

    Args:
        channels: width of the feature map.
        power: where the learned p starts; 3 as in GeM.

    >>> pool = GeneralizedMean(channels=1, power=3.0)
    >>> pooled = pool(torch.tensor([[[[1.0, 2.0]]]]))        # weights 1/5 and 4/5
    >>> pooled.context                                        # (1 + 8) / (1 + 4)
    tensor([[1.8000]], grad_fn=<ViewBackward0>)
    """

    def __init__(self, channels: int, power: float = 3.0) -> None:
        super().__init__()
        self.context_channels = channels
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, features: Tensor) -> Pooled:
        """Weights (B, C, h, w), values (B, C, 1, h, w)."""
        # A softmax of logarithms is a share of powers, and overflows for no power.
        weights = softmax_over_places(features.clamp(min=SMALLEST).log() * (self.power - 1))
        return Pooled(weights, split_heads(features, features.shape[1]))
