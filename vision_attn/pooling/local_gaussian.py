"""Local attention (Luong's local-p) in Gaussian windows with predicted centers."""

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

MIN_SIGMA = 0.5  # in cells: a narrower window would give no gradient to its center
TRUNCATE = 2  # the window ends this many sigmas from its center
CAPTION = "oval: where window N looks (1 sigma); dashed: its end"


class WindowPredictor(nn.Module):
    """Predict the center of each head's window from the mean feature; its half-width is learned.

    Centers are `sigmoid(v tanh(W g))` as in Luong's local-p, as fractions of the grid's sides.
    There is one learned half-width per head. Centers are initialized on a regular square lattice
    over the grid: with the same initial center, heads would never separate.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 8)
        self.hidden = nn.Linear(channels, hidden)
        self.center = nn.Linear(hidden, 2 * heads)
        self.log_radius = nn.Parameter(torch.full((heads,), math.log(0.5)))
        nn.init.normal_(self.center.weight, std=0.01)
        side = math.ceil(math.sqrt(heads))
        lattice = torch.tensor(
            [((k // side + 0.5) / side, (k % side + 0.5) / side) for k in range(heads)]
        )
        self.center.bias.data.copy_(torch.logit(lattice).flatten())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Centers (B, n, 2) as (y, x) in [0, 1], and half-widths D (n,) as fractions of a side."""
        mean = features.mean((-2, -1))
        centers = torch.sigmoid(self.center(torch.tanh(self.hidden(mean))))
        return centers.unflatten(1, (-1, 2)), self.log_radius.exp()


def sigma_in_cells(radius: Tensor, cells: int) -> Tensor:
    """Standard deviation of the Gaussians in cells, from half-widths D as fractions of the side.

    >>> sigma_in_cells(torch.tensor([0.4, 0.1]), cells=5)   # D = 2 cells; D = 1/2, clamped to 1
    tensor([1.0000, 0.5000])
    """
    return (radius * cells / TRUNCATE).clamp(min=MIN_SIGMA)


def log_window(center: Tensor, radius: Tensor, cells: int) -> Tensor:
    """Log of a truncated Gaussian window along one side of the grid; -inf outside the window.

    Args:
        center: (B, n), in [0, 1]: 0 is the middle of the first cell, 1 that of the last.
        radius: (n,), the half-width D as a fraction of the side; sigma = D/2 (Luong et al. 2015).
        cells: number of cells along that side.

    Returns:
        (B, n, cells): -(s - p)^2 / (2 sigma^2) where |s - p| <= D, else -inf.

    >>> log_window(torch.tensor([[0.5]]), torch.tensor([0.4]), cells=5)  # p = 2, D = 2, sigma = 1
    tensor([[[-2.0000, -0.5000, -0.0000, -0.5000, -2.0000]]])
    """
    center = center.to(radius.dtype)  # half precision is too coarse for positions on the grid
    places = torch.arange(cells, device=center.device, dtype=center.dtype)
    sigma = sigma_in_cells(radius, cells)
    offset = (places - center.unsqueeze(-1) * (cells - 1)) / sigma.unsqueeze(-1)
    # The tolerance keeps places on the very edge of the window in spite of rounding errors.
    return (-(offset**2) / 2).masked_fill(offset.abs() > TRUNCATE + 1e-4, -torch.inf)


class LocalGaussian(Pooling):
    r"""Local attention with predictive alignment (local-p; Luong et al. 2015) in two dimensions.

    Each head n predicts a center p_n from the mean feature g and attends within a Gaussian window
    of half-width D_n (sigma = D/2) around it. Within the window, scores also depend on the
    content of the places (arXiv 1508.04025)::

        p_n = sigmoid(v_n . tanh(W g)) * (h - 1, w - 1)
        weights_n(i) = softmax_i(<q_n, LN(x_i)> / sqrt(C) - |i - p_n|^2 / (2 sigma_n^2)),
                       over |i_y - p_y| <= D_n and |i_x - p_x| <= D_n

    Luong et al. multiply the softmax by the Gaussian, so that the weights sum to less than 1. Here
    the logarithm of the Gaussian is added to the scores, so that the weights still sum to 1. D is
    a learned fraction of the grid's sides: a window has the same position and size in the image on
    every grid.

    Args:
        channels: width C of the feature map.
        heads: number n of heads, with one window each; each weights its own slice of C/n channels.

    Raises:
        UserError: `heads` does not divide `channels`.

    >>> pool = LocalGaussian(channels=8, heads=4)
    >>> pooled = pool(torch.zeros(1, 8, 9, 9))  # no content: weights depend on the windows alone
    >>> pooled.weights[0].flatten(1).argmax(1)  # four windows, centered on the four quadrants
    tensor([20, 24, 56, 60])
    """

    head_kind = "window"

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads = heads
        self.context_channels = channels
        self.windows = WindowPredictor(channels, heads)
        self.keys = KeyNorm(channels)
        self.queries = learned_queries(heads, channels)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C/n, h, w)."""
        height, width = features.shape[-2:]
        content = self.keys.scores(features, self.queries)
        centers, radius = self.windows(features)
        rows = log_window(centers[..., 0], radius, height)
        columns = log_window(centers[..., 1], radius, width)
        scores = content + rows.unsqueeze(-1) + columns.unsqueeze(-2)
        return Pooled(softmax_over_places(scores), split_heads(features, self.heads))

    @torch.no_grad()
    def windows_of(self, features: Tensor, *earlier: Tensor) -> list[list[Window]]:
        """The predicted window of each head, for each image."""
        sides = torch.tensor(features.shape[-2:], device=features.device)
        centers, radius = self.windows(features)
        positions = (
            centers * (sides - 1) + 0.5
        ) / sides  # center 0 is the middle of the first cell
        sigma = torch.stack([sigma_in_cells(radius, side) / side for side in sides.tolist()], 1)
        return [
            [
                Window((head,), (y, x), (TRUNCATE * sy, TRUNCATE * sx), (sy, sx), CAPTION)
                for head, ((y, x), (sy, sx)) in enumerate(zip(image, sigma.tolist(), strict=True))
            ]
            for image in positions.tolist()
        ]
