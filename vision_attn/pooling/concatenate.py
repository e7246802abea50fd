"""Several poolings as one: side by side, on one grid, in heads of one width."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vision_attn.pooling.base import Pooled, Window


def concatenate(*pooled: Pooled) -> Pooled:
    """Several poolings as one, on the finest of their grids; the context is theirs in a row.

    >>> coarse = Pooled(torch.ones(1, 1, 1, 1), torch.tensor([3.0, 5.0]).view(1, 1, 2, 1, 1))
    >>> fine = Pooled(torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([[[[[4.0, 8.0]]]]]))
    >>> both = concatenate(coarse, fine)    # d = 1: the head of two channels is two heads
    >>> both.weights
    tensor([[[[0.5000, 0.5000]],
    <BLANKLINE>
             [[0.5000, 0.5000]],
    <BLANKLINE>
             [[0.2500, 0.7500]]]])
    >>> both.context
    tensor([[3., 5., 7.]])
    """
    height, width = (max(one.weights.shape[side] for one in pooled) for side in (-2, -1))
    channels = math.gcd(*(one.values.shape[2] for one in pooled))
    alike = [with_head_width(on_finer_grid(one, height, width), channels) for one in pooled]
    return Pooled(
        torch.cat([one.weights for one in alike], dim=1),
        torch.cat([one.values for one in alike], dim=1),
    )


def concatenate_windows(
    pooled: Sequence[Pooled], windows: Sequence[list[list[Window]]]
) -> list[list[Window]]:
    """The windows of several poolings, their heads numbered as `side_by_side` puts them.

    >>> whole = Pooled(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 2, 1, 1))  # is two heads beside
    >>> parts = Pooled(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1))  # one of one channel
    >>> window = Window((0,), (0.5, 0.5), (0.1, 0.1), None, "a window")
    >>> [(found,)] = concatenate_windows([whole, parts], [[[]], [[window]]])
    >>> found.heads
    (2,)
    """
    channels = math.gcd(*(one.values.shape[2] for one in pooled))
    together: list[list[Window]] = [[] for _ in windows[0]]
    before = 0
    for part, by_image in zip(pooled, windows, strict=True):
        heads, times = part.values.shape[1], part.values.shape[2] // channels
        for found, its_own in zip(together, by_image, strict=True):
            for window in its_own:
                now = [before + head * times + k for head in window.heads for k in range(times)]
                found.append(window._replace(heads=tuple(now)))
        before += heads * times
    return together


def with_head_width(pooled: Pooled, channels: int) -> Pooled:
    """The same pooling in narrower heads: a head of d channels as d/channels heads of one weight.

    >>> whole = Pooled(torch.ones(1, 1, 1, 1), torch.tensor([3.0, 5.0]).view(1, 1, 2, 1, 1))
    >>> with_head_width(whole, 1).context
    tensor([[3., 5.]])
    """
    times = pooled.values.shape[2] // channels
    values = pooled.values.unflatten(2, (times, channels)).flatten(1, 2)
    return Pooled(pooled.weights.repeat_interleave(times, dim=1), values)


def on_finer_grid(pooled: Pooled, height: int, width: int) -> Pooled:
    """The same pooling on a finer grid: the cells of a place share its weight evenly.

    >>> coarse = Pooled(torch.tensor([[[[0.4, 0.6]]]]), torch.tensor([[[[[1.0, 2.0]]]]]))
    >>> on_finer_grid(coarse, 1, 3).weights       # the first place has two cells
    tensor([[[[0.2000, 0.2000, 0.6000]]]])
    """
    if pooled.weights.shape[-2:] == (height, width):
        return pooled
    (rows, in_row), (columns, in_column) = (
        cells_of(places, cells, pooled.weights.device)
        for places, cells in zip(pooled.weights.shape[-2:], (height, width), strict=True)
    )
    cells = in_row.unsqueeze(1) * in_column
    shared = pooled.weights[..., rows.unsqueeze(1), columns] / cells
    return Pooled(shared, pooled.values[..., rows.unsqueeze(1), columns])


def cells_of(places: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The place that each cell of a finer side lies in, and how many cells share that place.

    >>> cells_of(2, 5, torch.device("cpu"))
    (tensor([0, 0, 0, 1, 1]), tensor([3, 3, 3, 2, 2]))
    """
    place = torch.arange(cells, device=device) * places // cells
    return place, (place.unsqueeze(0) == place.unsqueeze(1)).sum(0)
