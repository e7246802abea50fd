"""Local attention in fixed windows: places compete with their neighbours, then windows do."""

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

ABOUT = "frames: the windows within which places compete"


def into_windows(places: Tensor, window: int, outside: float) -> Tensor:
    """Cut (..., h, w) into (..., rows, columns, window*window), filled up with `outside`.

    >>> into_windows(torch.arange(6.0).view(2, 3), window=2, outside=-1)
    tensor([[[ 0.,  1.,  3.,  4.],
             [ 2., -1.,  5., -1.]]])
    """
    height, width = places.shape[-2:]
    filled = pad(places, (0, -width % window, 0, -height % window), value=outside)
    cut = filled.unflatten(-2, (-1, window)).unflatten(-1, (-1, window))
    return cut.transpose(-3, -2).flatten(-2)


def onto_grid(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The way back from `into_windows`: (..., rows, columns, window*window) to (..., h, w).

    >>> cut = into_windows(torch.arange(6.0).view(2, 3), window=2, outside=-1)
    >>> onto_grid(cut, 2, 2, 3)
    tensor([[0., 1., 2.],
            [3., 4., 5.]])
    """
    cut = windows.unflatten(-1, (window, window)).transpose(-3, -2)
    return cut.flatten(-2).flatten(-3, -2)[..., :height, :width]


def fixed_window(
    top: int, left: int, side: int, height: int, width: int, heads: tuple[int, ...]
) -> Window:
    """The window whose first cell is (top, left), on a grid of height x width cells.

    >>> at_the_edge = fixed_window(2, 0, 2, height=3, width=4, heads=(0,))   # one row is left
    >>> at_the_edge.center, at_the_edge.reach                      # 2.5/3 and 1/4; .5/3 and 1/4
    ((0.8333333333333334, 0.25), (0.16666666666666666, 0.25))
    """
    bottom, right = min(top + side, height), min(left + side, width)
    center = ((top + bottom) / 2 / height, (left + right) / 2 / width)
    reach = ((bottom - top) / 2 / height, (right - left) / 2 / width)
    return Window(heads, center, reach, None, ABOUT)


class LocalWindow(Pooling):
    r"""Luong's local-m attention (2015, arXiv 1508.04025: windows at fixed places) in 2-D.

    The grid is cut into windows of s x s places. Attention is taken twice, and sums to 1 both
    times, so the product does too; u is the window's mean key under the first attention::

        within_n(i) = softmax over the window of i (<q_n, k_i> / sqrt(C)),   k_i = LN(x_i)
        among_n(W)  = softmax over windows (<r_n, u_nW> / sqrt(C)),   u_nW = sum_W within_n(i) k_i
        weights_n(i) = among_n(window of i) * within_n(i)

    Windows at the right and lower edge are smaller where s does not divide the grid.

    Args:
        channels: width C of the feature map.
        heads: number n of pairs of queries; each weighs its own slice of C/n channels.
        window: the side s of a window, in cells.

    Raises:
        UserError: `heads` does not divide `channels`, or `window` is under 1.

    >>> pool = LocalWindow(channels=4, heads=1, window=2)
    >>> pool(torch.zeros(1, 4, 2, 3)).weights   # 2 windows, of 4 and of 2 places: 1/8 and 1/4
    tensor([[[[0.1250, 0.1250, 0.2500],
              [0.1250, 0.1250, 0.2500]]]], grad_fn=<SliceBackward0>)
    """

    def __init__(self, channels: int, heads: int = 4, window: int = 2) -> None:
        super().__init__()
        check_heads(channels, heads)
        if window < 1:
            raise UserError(f"a window is at least 1 cell wide, not {window}.")
        self.heads = heads
        self.window = window
        self.context_channels = channels
        self.keys = KeyNorm(channels)
        self.place_queries = learned_queries(heads, channels)
        self.window_queries = learned_queries(heads, channels)

    def forward(self, features: Tensor) -> Pooled:
        """Weigh places, then windows: weights (B, n, h, w), values (B, n, C/n, h, w)."""
        height, width = features.shape[-2:]
        queries = torch.cat([self.place_queries, self.window_queries])
        place_scores, window_scores = self.keys.scores(features, queries).chunk(2, dim=1)
        exact = at_least_float32(place_scores)
        within = into_windows(exact, self.window, -torch.inf).softmax(-1)
        # <r, sum within k> = sum within <r, k>: no need to build the windows' keys.
        among = softmax_over_places((within * into_windows(window_scores, self.window, 0)).sum(-1))
        weights = onto_grid(among.unsqueeze(-1) * within, self.window, height, width)
        return Pooled(weights, split_heads(features, self.heads))

    def windows_of(self, features: Tensor, *finer: Tensor) -> list[list[Window]]:
        """The fixed windows, the same for every head and image."""
        height, width = features.shape[-2:]
        windows = [
            fixed_window(top, left, self.window, height, width, tuple(range(self.heads)))
            for top in range(0, height, self.window)
            for left in range(0, width, self.window)
        ]
        return [windows for _ in features]
