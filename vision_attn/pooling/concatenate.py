"""Concatenate the outputs of several poolings on a common grid and with a common head width."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vision_attn.pooling.base import Pooled, Window


def concatenate(*pooled: Pooled) -> Pooled:
    """Concatenate poolings on the finest of their grids; their contexts are concatenated, too.

    >>> coarse = Pooled(torch.ones(1, 1, 1, 1), torch.tensor([3.0, 5.0]).view(1, 1, 2, 1, 1))
    >>> fine = Pooled(torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([[[[[4.0, 8.0]]]]]))
    >>> both = concatenate(coarse, fine)    # d = 1: the head of 2 channels becomes 2 heads
    >>> both.weights
    tensor([[[[0.5000, 0.5000]],
    <BLANKLINE>
             [[0.5000, 0.5000]],
    <BLANKLINE>
             [[0.2500, 0.7500]]]])
    >>> both.context
    tensor([[3., 5., 7.]])
    """
    height, width = (max(one.weights.shape[axis] for one in pooled) for axis in (-2, -1))
    channels = math.gcd(*(one.values.shape[2] for one in pooled))
    aligned = [split_wide_heads(upsample(one, height, width), channels) for one in pooled]
    return Pooled(
        torch.cat([one.weights for one in aligned], dim=1),
        torch.cat([one.values for one in aligned], dim=1),
    )


def concatenate_windows(
    pooled: Sequence[Pooled], windows: Sequence[list[list[Window]]]
) -> list[list[Window]]:
    """Windows of several poolings per image, with heads numbered as in `concatenate`.

    Args:
        pooled: the output of each pooling.
        windows: for each pooling, its `windows_of` the same images.

    >>> wide = Pooled(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 2, 1, 1))    # becomes heads 0 and 1
    >>> narrow = Pooled(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1))  # becomes head 2
    >>> window = Window((0,), (0.5, 0.5), (0.1, 0.1), None, "a window")
    >>> [(renumbered,)] = concatenate_windows([wide, narrow], [[[]], [[window]]])
    >>> renumbered.heads
    (2,)
    """
    channels = math.gcd(*(one.values.shape[2] for one in pooled))
    result: list[list[Window]] = [[] for _ in windows[0]]
    first_head = 0
    for one, windows_by_image in zip(pooled, windows, strict=True):
        heads, splits = one.values.shape[1], one.values.shape[2] // channels
        for result_of_image, image_windows in zip(result, windows_by_image, strict=True):
            for window in image_windows:
                renumbered = [
                    first_head + h * splits + k for h in window.heads for k in range(splits)
                ]
                result_of_image.append(window._replace(heads=tuple(renumbered)))
        first_head += heads * splits
    return result


def concatenate_kinds(pooled: Sequence[Pooled], kinds: Sequence[list[str]]) -> list[str]:
    """The kinds of heads of several poolings, in the order of the heads of `concatenate`.

    >>> wide = Pooled(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 2, 1, 1))    # becomes heads 0 and 1
    >>> narrow = Pooled(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1))  # becomes head 2
    >>> concatenate_kinds([wide, narrow], [["global"], ["window"]])
    ['global', 'global', 'window']
    """
    channels = math.gcd(*(one.values.shape[2] for one in pooled))
    splits = [one.values.shape[2] // channels for one in pooled]
    return [k for own, n in zip(kinds, splits, strict=True) for kind in own for k in [kind] * n]


def split_wide_heads(pooled: Pooled, channels: int) -> Pooled:
    """Split each head of d channels into d/channels heads with the same attention weights.

    >>> wide = Pooled(torch.ones(1, 1, 1, 1), torch.tensor([3.0, 5.0]).view(1, 1, 2, 1, 1))
    >>> split_wide_heads(wide, 1).context
    tensor([[3., 5.]])
    """
    splits = pooled.values.shape[2] // channels
    values = pooled.values.unflatten(2, (splits, channels)).flatten(1, 2)
    return Pooled(pooled.weights.repeat_interleave(splits, dim=1), values)


def upsample(pooled: Pooled, height: int, width: int) -> Pooled:
    """Nearest-neighbor upsampling to a finer grid; the cells of a place share its weight evenly.

    >>> coarse = Pooled(torch.tensor([[[[0.4, 0.6]]]]), torch.tensor([[[[[1.0, 2.0]]]]]))
    >>> upsample(coarse, 1, 3).weights       # the first place has two cells
    tensor([[[[0.2000, 0.2000, 0.6000]]]])
    """
    if pooled.weights.shape[-2:] == (height, width):
        return pooled
    (rows, row_counts), (columns, column_counts) = (
        source_places(places, cells, pooled.weights.device)
        for places, cells in zip(pooled.weights.shape[-2:], (height, width), strict=True)
    )
    cells_per_place = row_counts.unsqueeze(1) * column_counts
    weights = pooled.weights[..., rows.unsqueeze(1), columns] / cells_per_place
    return Pooled(weights, pooled.values[..., rows.unsqueeze(1), columns])


def source_places(places: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nearest-neighbor indices along one side, and the number of cells that share each place.

    >>> source_places(2, 5, torch.device("cpu"))
    (tensor([0, 0, 0, 1, 1]), tensor([3, 3, 3, 2, 2]))
    """
    index = torch.arange(cells, device=device) * places // cells
    return index, (index.unsqueeze(0) == index.unsqueeze(1)).sum(0)
