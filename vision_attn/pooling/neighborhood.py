"""Neighborhood attention pooling: a softmax over the window around each place."""

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
    split_heads,
)

CAPTION = "box: the neighborhood of the place with the head's largest weight"


def softmax_over_neighbors(scores: Tensor, kernel_size: int) -> Tensor:
    """Softmax of each place over the window around it; windows are cut off at the border.

    >>> softmax_over_neighbors(torch.zeros(1, 1, 2, 3), kernel_size=3)   # windows of 4 and 6 places
    tensor([[[[0.2500, 0.1667, 0.2500],
              [0.2500, 0.1667, 0.2500]]]])
    """
    padded = pad(scores, (kernel_size // 2,) * 4, value=-torch.inf)  # no weight outside the grid
    windows = padded.unfold(-2, kernel_size, 1).unfold(-2, kernel_size, 1)
    # In logarithms, so that nothing underflows if all scores of a neighborhood are low.
    return (scores - windows.logsumexp((-2, -1))).exp()


class Neighborhood(Pooling):
    r"""Softmax of each place over its own neighborhood, then normalized to sum to 1.

    A neighborhood is s x s places, cut off at the border (Hassani et al. 2023, arXiv 2204.07143).
    In the softmax, a place competes with its neighbors only, so that a strong place far away
    cannot push its share to zero::

        share_n(i) = exp(a_ni) / sum over the neighborhood of i of exp(a_nj)
        weights_n(i) = share_n(i) / sum_j share_n(j),     a_ni = <q_n, LN(x_i)> / sqrt(C)

    Args:
        channels: width C of the feature map.
        heads: number n of queries; each weights its own slice of C/n channels.
        kernel_size: side s of a neighborhood, in cells; an odd number.

    Raises:
        UserError: `heads` does not divide `channels`, or `kernel_size` is even or less than 1.

    >>> pool = Neighborhood(channels=4, heads=1)
    >>> # shares 1/4, 1/6 and 1/4 in each row: weights 3/16, 2/16 and 3/16
    >>> pool(torch.zeros(1, 4, 2, 3)).weights
    tensor([[[[0.1875, 0.1250, 0.1875],
              [0.1875, 0.1250, 0.1875]]]], grad_fn=<DivBackward0>)
    """

    head_kind = "neighborhood"

    def __init__(self, channels: int, heads: int = 4, kernel_size: int = 3) -> None:
        super().__init__()
        check_heads(channels, heads)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(
                f"neighborhood: kernel_size must be odd and at least 1, not {kernel_size}."
            )
        self.heads = heads
        self.kernel_size = kernel_size
        self.context_channels = channels
        self.keys = KeyNorm(channels)
        self.queries = learned_queries(heads, channels)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C/n, h, w)."""
        scores = self.keys.scores(features, self.queries)
        shares = softmax_over_neighbors(at_least_float32(scores), self.kernel_size)
        weights = shares / shares.sum((-2, -1), keepdim=True)
        return Pooled(weights, split_heads(features, self.heads))

    @torch.no_grad()
    def windows_of(self, features: Tensor, *earlier: Tensor) -> list[list[Window]]:
        """The neighborhood of the place with the largest weight, for each head and image."""
        height, width = features.shape[-2:]
        strongest = self(features).weights.flatten(2).argmax(2)
        reach = (self.kernel_size / 2 / height, self.kernel_size / 2 / width)
        return [
            [
                Window(
                    (head,),
                    ((place // width + 0.5) / height, (place % width + 0.5) / width),
                    reach,
                    None,
                    CAPTION,
                )
                for head, place in enumerate(places)
            ]
            for places in strongest.tolist()
        ]
