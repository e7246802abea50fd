"""Global max pooling, written as attention with all weight on each channel's maximum."""

from torch import Tensor

from vision_attn.pooling.base import Pooled, Pooling, hardmax_over_places, split_heads


class Maximum(Pooling):
    """Global max pooling: one head per channel, with all weight on the channel's maximum.

    Places that tie for the maximum share the weight, as in the gradient of a maximum. Global max
    pooling follows Oquab et al. 2015 ("Is object localization for free?").

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

    head_kind = "channel"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context_channels = channels

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, C, h, w) and values (B, C, 1, h, w)."""
        return Pooled(hardmax_over_places(features), split_heads(features, features.shape[1]))
