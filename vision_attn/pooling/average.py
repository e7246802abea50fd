"""Global average pooling, written as attention with uniform weights."""

from torch import Tensor

from vision_attn.pooling.base import Pooled, Pooling


class Average(Pooling):
    """Global average pooling (Lin et al. 2013, arXiv 1312.4400): the baseline without attention.

    Its evidence is the class activation map of Zhou et al. 2016 (arXiv 1512.04150).

    Args:
        channels: width of the feature map.

    >>> import torch
    >>> pooled = Average(channels=2)(torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]]))
    >>> pooled.weights
    tensor([[[[0.5000, 0.5000]]]])
    >>> pooled.context
    tensor([[2., 2.]])
    """

    head_kind = "average"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context_channels = channels

    def forward(self, features: Tensor) -> Pooled:
        """Give every place the same weight: weights (B, 1, h, w), values (B, 1, C, h, w)."""
        batch, _, height, width = features.shape
        weights = features.new_full((1, 1, 1, 1), 1 / (height * width))
        return Pooled(weights.expand(batch, 1, height, width), features.unsqueeze(1))
