"""Local attention with predicted centres: each glimpse looks through a Gaussian window."""

import math

import torch
from torch import Tensor, nn

from vision_attn.pooling.base import (
    KeyNorm,
    Pooled,
    Pooling,
    Window,
    check_heads,
    learned_queries,
    softmax_over_places,
    split_heads,
)

MIN_SIGMA = 0.5  # in cells: a narrower window would hand no gradient to its centre
REACH = 2  # sigmas: D, where the window ends
ABOUT = "oval: 1 sigma around a predicted centre; dashes: where it ends"


class Windows(nn.Module):
    """Predicts, from the mean feature, where each glimpse looks and how wide.

    Centres are `sigmoid(v tanh(W g))` as in Luong's local-p, in shares of the grid's sides;
    half-widths are learned, one a glimpse. Centres start spread over a square of the grid: from
    one common start they would never separate.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 8)
        self.hidden = nn.Linear(channels, hidden)
        self.center = nn.Linear(hidden, 2 * heads)
        self.log_radius = nn.Parameter(torch.full((heads,), math.log(0.5)))
        nn.init.normal_(self.center.weight, std=0.01)
        side = math.ceil(math.sqrt(heads))
        start = torch.tensor(
            [((k // side + 0.5) / side, (k % side + 0.5) / side) for k in range(heads)]
        )
        self.center.bias.data.copy_(torch.logit(start).flatten())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Centres (B, n, 2) as (y, x) in [0, 1], and half-widths D (n,) in shares of a side."""
        summary = features.mean((-2, -1))
        centres = torch.sigmoid(self.center(torch.tanh(self.hidden(summary))))
        return centres.unflatten(1, (-1, 2)), self.log_radius.exp()


def sigma_in_cells(radius: Tensor, cells: int) -> Tensor:
    """The Gaussians' sigma along a side, of half-widths in shares of that side.

    >>> sigma_in_cells(torch.tensor([0.4, 0.1]), cells=5)   # D of 2 cells and, at least, of 1
    tensor([1.0000, 0.5000])
    """
    return (radius * cells / REACH).clamp(min=MIN_SIGMA)


def log_window(center: Tensor, radius: Tensor, cells: int) -> Tensor:
    """Log of a Gaussian window along one side of the grid, -inf outside.

    Args:
        centre: (B, n), in [0, 1]: 0 is the middle of the first cell, 1 that of the last.
        radius: (n,), the half-width D as a share of the side; sigma = D/2 (Luong et al. 2015).
        cells: cells along that side.

    Returns:
        (B, n, cells): -(s - p)^2 / (2 sigma^2) where |s - p| <= D, else -inf.

    >>> log_window(torch.tensor([[0.5]]), torch.tensor([0.4]), cells=5)  # p = 2, D = 2, sigma = 1
    tensor([[[-2.0000, -0.5000, -0.0000, -0.5000, -2.0000]]])
    """
    center = center.to(radius.dtype)  # half precision is too coarse for a place on the grid
    places = torch.arange(cells, device=center.device, dtype=center.dtype)
    sigma = sigma_in_cells(radius, cells)
    offset = (places - center.unsqueeze(-1) * (cells - 1)) / sigma.unsqueeze(-1)
    # A hair over D, so that rounding does not drop a place that lies on the window's edge.
    return (-(offset**2) / 2).masked_fill(offset.abs() > REACH + 1e-4, -torch.inf)


class LocalGaussian(Pooling):
    r"""Luong's local-p attention (2015, arXiv 1508.04025) carried to two dimensions.

    Glimpse n predicts a centre p_n from the mean feature g and looks through a Gaussian window of
    half-width D_n (sigma = D/2) around it; within the window places compete by content::

        p_n = sigmoid(v_n . tanh(W g)) * (h - 1, w - 1)
        weights_n(i) = softmax_i(<q_n, LN(x_i)> / sqrt(C) - |i - p_n|^2 / (2 sigma_n^2)),
                       over |i_y - p_y| <= D_n and |i_x - p_x| <= D_n

    Luong multiplies the softmax by the Gaussian and lets the sum fall below 1; here the Gaussian
    enters as a logarithm, so that the weights still sum to 1. D is a learned share of the grid's
    sides: a window keeps its place and size on the image, whatever the grid.

    Args:
        channels: width C of the feature map.
        glimpses: number n of windows; each weighs its own slice of C/n channels.

    Raises:
        UserError: `glimpses` does not divide `channels`.

    >>> pool = LocalGaussian(channels=8, heads=4)
    >>> pooled = pool(torch.zeros(1, 8, 9, 9))  # no content: weights are the windows alone
    >>> pooled.weights[0].flatten(1).argmax(1) # four windows, centred on the four quarters
    tensor([20, 24, 56, 60])
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads = heads
        self.context_channels = channels
        self.windows = Windows(channels, heads)
        self.keys = KeyNorm(channels)
        self.queries = learned_queries(heads, channels)

    def forward(self, features: Tensor) -> Pooled:
        """Weigh places near each centre: weights (B, n, h, w), values (B, n, C/n, h, w)."""
        height, width = features.shape[-2:]
        content = self.keys.scores(features, self.queries)
        centres, radius = self.windows(features)
        rows = log_window(centres[..., 0], radius, height)
        columns = log_window(centres[..., 1], radius, width)
        scores = content + rows.unsqueeze(-1) + columns.unsqueeze(-2)
        return Pooled(softmax_over_places(scores), split_heads(features, self.heads))

    @torch.no_grad()
    def windows_of(self, features: Tensor, *finer: Tensor) -> list[list[Window]]:
        """Where each glimpse looks, and how wide, in each of the images."""
        sides = torch.tensor(features.shape[-2:], device=features.device)
        centres, radius = self.windows(features)
        middles = (centres * (sides - 1) + 0.5) / sides  # 0 is the middle of the first cell
        sigma = torch.stack([sigma_in_cells(radius, side) / side for side in sides.tolist()], 1)
        return [
            [
                Window((head,), (y, x), (REACH * sy, REACH * sx), (sy, sx), ABOUT)
                for head, ((y, x), (sy, sx)) in enumerate(zip(places, sigma.tolist(), strict=True))
            ]
            for places in middles.tolist()
        ]
