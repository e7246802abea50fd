"""Local attention (Luong's local-m) in fixed windows, followed by attention over the windows."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from vision_attn.core.errors import UserError
from vision_attn.pooling.base import (
    KeyNorm,
    Pooled,
    Pooling,
    Window,
    at_least_float32,
    check_heads,
    learned_queries,
    softmax_over_places,
    split_heads,
)

CAPTION = "boxes: the fixed windows of local attention"


def window_partition(grid: Tensor, window: int, padding: float) -> Tensor:
    """Partition (..., h, w) into windows (..., rows, columns, window*window), with padding.

    >>> window_partition(torch.arange(6.0).view(2, 3), window=2, padding=-1)
    tensor([[[ 0.,  1.,  3.,  4.],
             [ 2., -1.,  5., -1.]]])
    """
    height, width = grid.shape[-2:]
    padded = pad(grid, (0, -width % window, 0, -height % window), value=padding)
    split = padded.unflatten(-2, (-1, window)).unflatten(-1, (-1, window))
    return split.transpose(-3, -2).flatten(-2)


def window_reverse(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Inverse of `window_partition`: (..., rows, columns, window*window) to (..., h, w).

    >>> windows = window_partition(torch.arange(6.0).view(2, 3), window=2, padding=-1)
    >>> window_reverse(windows, 2, 2, 3)
    tensor([[0., 1., 2.],
            [3., 4., 5.]])
    """
    split = windows.unflatten(-1, (window, window)).transpose(-3, -2)
    return split.flatten(-2).flatten(-3, -2)[..., :height, :width]


def fixed_window(
    top: int, left: int, side: int, height: int, width: int, heads: tuple[int, ...]
) -> Window:
    """The `Window` whose first cell is (top, left), on a grid of height x width cells.

    >>> cropped = fixed_window(2, 0, 2, height=3, width=4, heads=(0,))   # only one row is left
    >>> cropped.center, cropped.reach                      # 2.5/3 and 1/4; .5/3 and 1/4
    ((0.8333333333333334, 0.25), (0.16666666666666666, 0.25))
    """
    bottom, right = min(top + side, height), min(left + side, width)
    center = ((top + bottom) / 2 / height, (left + right) / 2 / width)
    reach = ((bottom - top) / 2 / height, (right - left) / 2 / width)
    return Window(heads, center, reach, None, CAPTION)


class LocalWindow(Pooling):
    r"""Local attention in fixed windows (local-m; Luong et al. 2015, arXiv 1508.04025) in 2-D.

    The grid is partitioned into windows of s x s places. Attention is computed twice: within each
    window, and over the windows. Both sum to 1, and so does their product. u is the mean key of a
    window, weighted by the attention within it::

        within_n(i) = softmax over the window of i (<q_n, k_i> / sqrt(C)),   k_i = LN(x_i)
        among_n(W)  = softmax over windows (<r_n, u_nW> / sqrt(C)),   u_nW = sum_W within_n(i) k_i
        weights_n(i) = among_n(window of i) * within_n(i)

    Windows at the right and lower edges are smaller if s does not divide the grid's sides.

    Args:
        channels: width C of the feature map.
        heads: number n of query pairs; each weights its own slice of C/n channels.
        window: side s of a window, in cells.

    Raises:
        UserError: `heads` does not divide `channels`, or `window` is less than 1.

    >>> pool = LocalWindow(channels=4, heads=1, window=2)
    >>> pool(torch.zeros(1, 4, 2, 3)).weights   # 2 windows, of 4 and of 2 places: 1/8 and 1/4
    tensor([[[[0.1250, 0.1250, 0.2500],
              [0.1250, 0.1250, 0.2500]]]], grad_fn=<SliceBackward0>)
    """

    head_kind = "local"

    def __init__(self, channels: int, heads: int = 4, window: int = 2) -> None:
        super().__init__()
        check_heads(channels, heads)
        if window < 1:
            raise UserError(f"local_window: window must be at least 1 cell, not {window}.")
        self.heads = heads
        self.window = window
        self.context_channels = channels
        self.keys = KeyNorm(channels)
        self.place_queries = learned_queries(heads, channels)
        self.window_queries = learned_queries(heads, channels)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C/n, h, w)."""
        height, width = features.shape[-2:]
        queries = torch.cat([self.place_queries, self.window_queries])
        place_scores, window_scores = self.keys.scores(features, queries).chunk(2, dim=1)
        exact = at_least_float32(place_scores)
        within = window_partition(exact, self.window, -torch.inf).softmax(-1)
        # <r, sum within k> = sum within <r, k>: the windows' keys need not be computed.
        by_window = window_partition(window_scores, self.window, 0)
        among = softmax_over_places((within * by_window).sum(-1))
        weights = window_reverse(among.unsqueeze(-1) * within, self.window, height, width)
        return Pooled(weights, split_heads(features, self.heads))

    def windows_of(self, features: Tensor, *earlier: Tensor) -> list[list[Window]]:
        """The fixed windows, the same for every head and image."""
        height, width = features.shape[-2:]
        windows = [
            fixed_window(top, left, self.window, height, width, tuple(range(self.heads)))
            for top in range(0, height, self.window)
            for left in range(0, width, self.window)
        ]
        return [windows for _ in features]
