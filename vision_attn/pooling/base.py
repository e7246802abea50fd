"""The promise of every pooling: weights times values, and nothing else, reaches the head.

Axes: B images, C channels, n heads, d channels a head, h x w places of the grid, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vision_attn.core.errors import UserError


class Pooled(NamedTuple):
    """What attention did: how much each place weighs, and what is summed with those weights.

    Attributes:
        weights: (B, n, h, w), >= 0, summing to 1 over h, w for each head.
        values: (B, n, d, h, w), affine in the features at each place.

    >>> weights = torch.tensor([[[[0.25, 0.75]]]])            # one image, one head, 1 x 2 places
    >>> values = torch.tensor([[[[[4.0, 8.0]], [[0.0, 2.0]]]]])  # d = 2 channels a place
    >>> pooled = Pooled(weights, values)
    >>> pooled.context                        # .25 * 4 + .75 * 8 = 7 and .25 * 0 + .75 * 2 = 1.5
    tensor([[7.0000, 1.5000]])
    >>> pooled.evidence(torch.tensor([[1.0, -2.0]]))       # adds up to 1 * 7 - 2 * 1.5 = 4
    tensor([[[[1., 3.]]]])
    """

    weights: Tensor
    values: Tensor

    @property
    def context(self) -> Tensor:
        """The context vector (B, n*d): the sum over places of weights x values."""
        weights = self.weights.to(self.values.dtype)
        return torch.einsum("bnhw,bndhw->bnd", weights, self.values).flatten(1)

    def evidence(self, head_weight: Tensor) -> Tensor:
        """What each place argues for each class (B, K, h, w), exact for a linear head.

        `evidence_c(i) = sum_n weights_n(i) <W_cn, values_n(i)>`, so that its sum over places plus
        the bias is the logit of class c: the class activation map (Zhou et al. 2016,
        arXiv 1512.04150) with attention in the place of the mean, as SAOL does (Kim et al. 2020).

        Args:
            head_weight: (K, n*d), the weight matrix of the linear head.
        """
        heads, channels = self.values.shape[1:3]
        by_head = head_weight.unflatten(1, (heads, channels))
        weighted = self.weights.to(self.values.dtype).unsqueeze(2) * self.values
        return torch.einsum("bndhw,knd->bkhw", weighted, by_head)


class Window(NamedTuple):
    """What a head looks through, in shares of the image's height and width.

    Attributes:
        heads: numbers of the heads that look through it, from 0.
        centre: (y, x), each in [0, 1].
        reach: how far it goes up and down, and left and right; what lies beyond the image is cut
            off.
        sigma: that of a Gaussian in it, likewise; None where places differ by their content alone.
        about: what a picture's caption says of windows of this kind.
    """

    heads: tuple[int, ...]
    center: tuple[float, float]
    reach: tuple[float, float]
    sigma: tuple[float, float] | None
    about: str


class Channels(int):
    """The width of the features, which also knows what else a pooling may want to know.

    Most poolings take it as the integer that it is.

    Attributes:
        classes: number K of classes that the model tells apart.
        finer: widths of the backbone's stages before the last, finest first.

    >>> channels = Channels(512, classes=10, finer=(128, 256))
    >>> channels // 4, channels.finer[-1]
    (128, 256)
    """

    classes: int
    finer: tuple[int, ...]

    def __new__(cls, width: int, classes: int = 1, finer: tuple[int, ...] = ()) -> "Channels":
        """An integer of the value `width`."""
        channels = super().__new__(cls, width)
        channels.classes = classes
        channels.finer = finer
        return channels


class Pooling(nn.Module, ABC):
    """A way to weigh the places of a feature map.

    A subclass takes `channels` first (the backbone supplies it), works with its other defaults,
    and sets `context_channels`, the width n*d of the context vector. One that looks at several
    layers of the backbone sets `finer`, and is given that many feature maps after the last one:
    `forward(features, *finer_features)`, finest first.
    """

    context_channels: int
    finer: int = 0

    @abstractmethod
    def forward(self, features: Tensor) -> Pooled:
        """Weigh the places of `features` (B, C, h, w)."""

    def windows_of(self, features: Tensor, *finer: Tensor) -> list[list[Window]]:
        """The windows that heads look through, for each of the images; none, unless it has some."""
        return [[] for _ in features]

    def make_head(self, num_classes: int) -> nn.Linear:
        """The linear head that reads the context; poolings with weights by class have their own."""
        return nn.Linear(self.context_channels, num_classes)


PoolingFactory = Callable[[Channels], Pooling]
"""What a configuration names: a pooling that lacks only its width, the number of channels."""


def split_heads(features: Tensor, heads: int) -> Tensor:
    """Give each head its own slice of the channels: (B, C, h, w) to (B, n, C/n, h, w).

    >>> split_heads(torch.zeros(2, 6, 3, 5), heads=2).shape
    torch.Size([2, 2, 3, 3, 5])
    """
    return features.unflatten(1, (heads, features.shape[1] // heads))


def check_heads(channels: int, heads: int) -> None:
    """Refuse a number of heads that does not divide the channels.

    Raises:
        UserError: with the numbers that do divide them.
    """
    if heads < 1 or channels % heads:
        fitting = [str(n) for n in range(1, 17) if channels % n == 0]
        raise UserError(
            f"{heads} heads do not divide the backbone's {channels} channels; "
            f"heads can be {', '.join(fitting)}."
        )


def at_least_float32(scores: Tensor) -> Tensor:
    """Scores in a type whose softmax sums to 1: half precision under autocast does not.

    >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return scores if scores.dtype == torch.float64 else scores.float()


def learned_queries(heads: int, channels: int) -> nn.Parameter:
    """Queries (n, C) at their start.

    Small, so that training starts near average pooling; not zero, so that heads differ.
    """
    queries = nn.Parameter(torch.empty(heads, channels))
    nn.init.normal_(queries, std=0.1)
    return queries


def softmax_over_places(scores: Tensor) -> Tensor:
    """Softmax over the last two axes, in float32 or better so that it sums to 1 under autocast.

    >>> softmax_over_places(torch.zeros(1, 1, 2, 5))[0, 0, 0, 0]
    tensor(0.1000)
    """
    exact = at_least_float32(scores)
    return exact.flatten(-2).softmax(-1).view_as(exact)


def largest_over_places(scores: Tensor) -> Tensor:
    """All weight on the largest score; ties share it, as the gradient of a maximum does.

    >>> largest_over_places(torch.tensor([[[[1.0, 3.0, 3.0]]]]))
    tensor([[[[0.0000, 0.5000, 0.5000]]]])
    """
    largest = at_least_float32((scores == scores.amax((-2, -1), keepdim=True)).to(scores.dtype))
    return largest / largest.sum((-2, -1), keepdim=True)


class KeyNorm(nn.Module):
    """Layer norm over the channels of each place: the keys that attention scores are taken from.

    Scores then do not depend on the scale of a backbone's features; values stay as they are.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (B, C, h, w) over C."""
        return self.norm(features.movedim(1, -1)).movedim(-1, 1)

    def scores(self, features: Tensor, queries: Tensor) -> Tensor:
        """Scaled dot products <q_n, LN(x_i)> / sqrt(C) of queries (n, C): (B, n, h, w).

        One product of matrices, in the layout that a CNN's features have in memory.
        """
        keys = self.norm(features.movedim(1, -1))
        return (keys @ queries.T).movedim(-1, 1) * queries.shape[1] ** -0.5
