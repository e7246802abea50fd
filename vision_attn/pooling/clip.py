"""CLIP's attention pooling: the mean token asks, every place answers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear

from vision_attn.core.errors import UserError
from vision_attn.pooling.base import (
    Pooled,
    Pooling,
    at_least_float32,
    check_heads,
)


class ClipAttention(Pooling):
    r"""The attention pooling of CLIP's ResNets (Radford et al. 2021, arXiv 2103.00020).

    The mean m of all places is token 0 and asks; the places are tokens 1 to N. With learned
    positions p::

        q = W_q (m + p_0),   k_0 = W_k (m + p_0),   k_i = W_k (x_i + p_i),   v_i = W_v x_i
        a_n = softmax over tokens 0..N of <q_n, k_n> / sqrt(C/n)
        weights_n(i) = a_n(i) + a_n(0) / N,     values_n(i) = slice n of v_i

    The mean token weighs itself, too. It is the mean of the places, so its weight is handed on
    to them evenly, and nothing is hidden. Two things differ from CLIP for the sake of the
    promise: positions tell where to look, but are no part of the values (a place would argue by
    where it is), and no projection follows the sum (the linear head is one).

    Args:
        channels: width C of the feature map.
        heads: number n of attention heads.
        grid: side of the grid that positions are learned for; resampled to other grids.

    Raises:
        UserError: `heads` does not divide `channels`, or `grid` is under 1.

    >>> pool = ClipAttention(channels=1, heads=1, grid=2)
    >>> for layer in (pool.query, pool.key, pool.value):
    ...     _ = nn.init.ones_(layer.weight)
    >>> _ = nn.init.zeros_(pool.places), nn.init.zeros_(pool.mean_place)
    >>> # the mean is 1: scores 1 (the mean itself), 0 and 2, softmax .2447, .0900 and .6652
    >>> pool(torch.tensor([[[[0.0, 2.0]]]])).weights          # .0900 + .2447/2, .6652 + .2447/2
    tensor([[[[0.2124, 0.7876]]]], grad_fn=<ViewBackward0>)
    """

    def __init__(self, channels: int, heads: int = 4, grid: int = 7) -> None:
        super().__init__()
        check_heads(channels, heads)
        if grid < 1:
            raise UserError(f"clip learns positions for a grid of at least 1 place, not {grid}.")
        self.heads = heads
        self.context_channels = channels
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)  # a softmax forgets it
        self.value = nn.Linear(channels, channels)
        self.mean_place = nn.Parameter(torch.empty(channels))
        self.places = nn.Parameter(torch.empty(channels, grid, grid))
        for start in (self.query.weight, self.key.weight, self.value.weight, self.places):
            nn.init.trunc_normal_(start, std=channels**-0.5)
        nn.init.trunc_normal_(self.mean_place, std=channels**-0.5)
        nn.init.zeros_(self.query.bias)
        nn.init.zeros_(self.value.bias)

    def forward(self, features: Tensor) -> Pooled:
        """Weights (B, n, h, w), values (B, n, C/n, h, w)."""
        grid = features.shape[-2:]
        mean = features.mean((-2, -1)) + self.mean_place
        tokens = (features + self.places_on(grid)).flatten(2)
        # <q, W x> = <W^T q, x>: the keys of all places need not be built.
        query = self.query(mean).unflatten(1, (self.heads, -1))
        asked = torch.einsum("bnd,ndc->bnc", query, self.key.weight.unflatten(0, (self.heads, -1)))
        to_all = torch.cat([mean.unsqueeze(2), tokens], dim=2)
        scores = at_least_float32((asked @ to_all) * query.shape[-1] ** -0.5)
        itself, places = scores.softmax(-1).split([1, tokens.shape[2]], dim=-1)
        weights = (places + itself / tokens.shape[2]).unflatten(2, tuple(grid))
        values = linear(features.movedim(1, -1), self.value.weight, self.value.bias)
        return Pooled(weights, values.movedim(-1, 1).unflatten(1, (self.heads, -1)))

    def places_on(self, grid: torch.Size) -> Tensor:
        """The learned positions (C, h, w) on a grid, resampled as timm and CLIP's users do."""
        if self.places.shape[-2:] == grid:
            return self.places
        exact = at_least_float32(self.places).unsqueeze(0)  # half precision has no bicubic
        resampled = interpolate(exact, tuple(grid), mode="bicubic", antialias=True)
        return resampled.squeeze(0).to(self.places.dtype)
