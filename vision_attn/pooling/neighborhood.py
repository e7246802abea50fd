"""Neighborhood attention: each place weighs itself against its own neighbours."""

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

ABOUT = "frame: the neighbours of a head's strongest place"


def share_of_neighborhood(scores: Tensor, kernel_size: int) -> Tensor:
    """Each place's share in a softmax over the window around it, cut off at the border.

    >>> share_of_neighborhood(torch.zeros(1, 1, 2, 3), kernel_size=3)   # windows of 4 and of 6 places
    tensor([[[[0.2500, 0.1667, 0.2500],
              [0.2500, 0.1667, 0.2500]]]])
    """
    around = pad(scores, (kernel_size // 2,) * 4, value=-torch.inf)  # nothing lies outside
    windows = around.unfold(-2, kernel_size, 1).unfold(-2, kernel_size, 1)
    # Logarithms: a share must not vanish where all of a neighborhood scores low.
    return (scores - windows.logsumexp((-2, -1))).exp()


class Neighborhood(Pooling):
    r"""Attention taken against each place's own neighborhood, then brought to sum to 1.

    Neighbourhoods are s x s places, cut off at the border (Hassani et al. 2023, arXiv
    2204.07143). A place competes with its neighbours only, so on a larger picture none silences
    a far one::

        share_n(i) = exp(a_ni) / sum over the neighborhood of i of exp(a_nj)
        weights_n(i) = share_n(i) / sum_j share_n(j),     a_ni = <q_n, LN(x_i)> / sqrt(C)

    Args:
        channels: width C of the feature map.
        heads: number n of queries; each weighs its own slice of C/n channels.
        side: the side s of a neighborhood, in cells, odd.

    Raises:
        UserError: `heads` does not divide `channels`, or `side` is even.

    >>> pool = Neighborhood(channels=4, heads=1)
    >>> # shares 1/4, 1/6 and 1/4 in each row: weights 3/16, 2/16 and 3/16
    >>> pool(torch.zeros(1, 4, 2, 3)).weights
    tensor([[[[0.1875, 0.1250, 0.1875],
              [0.1875, 0.1250, 0.1875]]]], grad_fn=<DivBackward0>)
    """

    def __init__(self, channels: int, heads: int = 4, kernel_size: int = 3) -> None:
        super().__init__()
        check_heads(channels, heads)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(
                f"a neighborhood has an odd side, so that it has a middle, not {kernel_size}."
            )
        self.heads = heads
        self.kernel_size = kernel_size
        self.context_channels = channels
        self.keys = KeyNorm(channels)
        self.queries = learned_queries(heads, channels)

    def forward(self, features: Tensor) -> Pooled:
        """Weights (B, n, h, w), values (B, n, C/n, h, w)."""
        scores = self.keys.scores(features, self.queries)
        shares = share_of_neighborhood(at_least_float32(scores), self.kernel_size)
        weights = shares / shares.sum((-2, -1), keepdim=True)
        return Pooled(weights, split_heads(features, self.heads))

    @torch.no_grad()
    def windows_of(self, features: Tensor, *finer: Tensor) -> list[list[Window]]:
        """Of the windows, one around each place, that around each head's strongest place."""
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
                    ABOUT,
                )
                for head, place in enumerate(places)
            ]
            for places in strongest.tolist()
        ]
