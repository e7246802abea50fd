"""CLIP's attention pooling: the mean feature is the query, every place is a key and a value."""

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

    Token 0 is the mean m of all places and gives the query; the places are tokens 1 to N. With
    learned position embeddings p::

        q = W_q (m + p_0),   k_0 = W_k (m + p_0),   k_i = W_k (x_i + p_i),   v_i = W_v x_i
        a_n = softmax over tokens 0..N of <q_n, k_n> / sqrt(C/n)
        weights_n(i) = a_n(i) + a_n(0) / N,     values_n(i) = slice n of v_i

    The mean token also attends to itself. As it is the mean of the places, its weight is divided
    evenly among them, so that the weights account for everything. Two things differ from CLIP, so
    that the evidence stays exact: position embeddings enter the scores but not the values
    (otherwise a place would contribute by where it is, not by what it shows), and no projection
    follows the sum (the linear head already is one).

    Args:
        channels: width C of the feature map.
        heads: number n of attention heads.
        grid: side of the grid of learned position embeddings; resampled for other grids.

    Raises:
        UserError: `heads` does not divide `channels`, or `grid` is less than 1.

    >>> pool = ClipAttention(channels=1, heads=1, grid=2)
    >>> for layer in (pool.query, pool.key, pool.value):
    ...     _ = nn.init.ones_(layer.weight)
    >>> _ = nn.init.zeros_(pool.places), nn.init.zeros_(pool.mean_place)
    >>> # the mean is 1: scores 1 (the mean itself), 0 and 2, softmax .2447, .0900 and .6652
    >>> pool(torch.tensor([[[[0.0, 2.0]]]])).weights          # .0900 + .2447/2, .6652 + .2447/2
    tensor([[[[0.2124, 0.7876]]]], grad_fn=<ViewBackward0>)
    """

    head_kind = "CLIP"

    def __init__(self, channels: int, heads: int = 4, grid: int = 7) -> None:
        super().__init__()
        check_heads(channels, heads)
        if grid < 1:
            raise UserError(f"clip: grid must be at least 1, not {grid}.")
        self.heads = heads
        self.context_channels = channels
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)  # cancels in the softmax
        self.value = nn.Linear(channels, channels)
        self.mean_place = nn.Parameter(torch.empty(channels))
        self.places = nn.Parameter(torch.empty(channels, grid, grid))
        for parameter in (self.query.weight, self.key.weight, self.value.weight, self.places):
            nn.init.trunc_normal_(parameter, std=channels**-0.5)
        nn.init.trunc_normal_(self.mean_place, std=channels**-0.5)
        nn.init.zeros_(self.query.bias)
        nn.init.zeros_(self.value.bias)

    def forward(self, features: Tensor) -> Pooled:
        """Attention weights (B, n, h, w) and values (B, n, C/n, h, w)."""
        grid = features.shape[-2:]
        mean = features.mean((-2, -1)) + self.mean_place
        tokens = (features + self.positions_on(grid)).flatten(2)
        # <q, W x> = <W^T q, x>: projecting the query is cheaper than projecting all places.
        query = self.query(mean).unflatten(1, (self.heads, -1))
        by_head = self.key.weight.unflatten(0, (self.heads, -1))
        projected = torch.einsum("bnd,ndc->bnc", query, by_head)
        all_tokens = torch.cat([mean.unsqueeze(2), tokens], dim=2)
        scores = at_least_float32((projected @ all_tokens) * query.shape[-1] ** -0.5)
        mean_weight, place_weights = scores.softmax(-1).split([1, tokens.shape[2]], dim=-1)
        weights = (place_weights + mean_weight / tokens.shape[2]).unflatten(2, tuple(grid))
        values = linear(features.movedim(1, -1), self.value.weight, self.value.bias)
        return Pooled(weights, values.movedim(-1, 1).unflatten(1, (self.heads, -1)))

    def positions_on(self, grid: torch.Size) -> Tensor:
        """Position embeddings (C, h, w) for a grid, resampled as timm and users of CLIP do."""
        if self.places.shape[-2:] == grid:
            return self.places
        exact = at_least_float32(self.places).unsqueeze(0)  # bicubic needs at least float32
        resampled = interpolate(exact, tuple(grid), mode="bicubic", antialias=True)
        return resampled.squeeze(0).to(self.places.dtype)
