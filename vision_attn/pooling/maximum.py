"""Max pooling as attention: in each channel, the largest place takes all the weight."""

from torch import Tensor

from vision_attn.pooling.base import Pooled, Pooling, largest_over_places, split_heads


class Maximum(Pooling):
    """One head a channel, all of its weight on the channel's largest value.

    Places that tie for the largest share the weight, as the gradient of a maximum does. Max
    pooling over all places is that of Oquab et al. 2015 ("Is object localization for free?").

    Args:
        channels: width of the feature map.

    >>> import torch
    >>> pooled = Maximum(channels=2)(torch.tensor([[[[1.0, 3.0]], [[4.0, 4.0]]]]))
    >>> pooled.weights
    tensor([[[[0.0000, 1.0000]],
    <BLANKLINE>
             [[0.5000, 0.5000]]]])
    >>> pooled.context
    tensor([[3., 4.]])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context_channels = channels

    def forward(self, features: Tensor) -> Pooled:
        """Weights (B, C, h, w), values (B, C, 1, h, w)."""
        return Pooled(largest_over_places(features), split_heads(features, features.shape[1]))
