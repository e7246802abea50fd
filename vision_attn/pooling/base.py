"""Pooling interface: attention weights and values, whose weighted sum goes to the classifier.

Nothing else reaches the linear head, so that each logit is an exact sum of evidence over places.

Axes: B images, C channels, n heads, d channels per head, h x w places of the grid, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vision_attn.core.errors import UserError


class Pooled(NamedTuple):
    """Output of a pooling: the attention weights, and the values that they weight.

    Attributes:
        weights: (B, n, h, w), >= 0, summing to 1 over h, w for each head.
        values: (B, n, d, h, w), affine in the features at each place.

    >>> weights = torch.tensor([[[[0.25, 0.75]]]])            # one image, one head, 1 x 2 places
    >>> values = torch.tensor([[[[[4.0, 8.0]], [[0.0, 2.0]]]]])  # d = 2 channels per place
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
        """Evidence map (B, K, h, w): the exact contribution of each place to each logit.

        `evidence_c(i) = sum_n weights_n(i) <W_cn, values_n(i)>`. Its sum over places plus the bias
        is the logit of class c. This is the class activation map (Zhou et al. 2016,
        arXiv 1512.04150) with attention instead of the mean, as in SAOL (Kim et al. 2020).

        Args:
            head_weight: (K, n*d), the weight matrix of the linear head.
        """
        heads, channels = self.values.shape[1:3]
        by_head = head_weight.unflatten(1, (heads, channels))
        weighted = self.weights.to(self.values.dtype).unsqueeze(2) * self.values
        return torch.einsum("bndhw,knd->bkhw", weighted, by_head)


class Window(NamedTuple):
    """Window of a local attention head; lengths are fractions of the image's height and width.

    Attributes:
        heads: indices of the heads that attend within this window, from 0.
        center: (y, x), each in [0, 1].
        reach: half its height and half its width; what lies beyond the image is cut off.
        sigma: (y, x), the standard deviations of the Gaussian in it; None if the window has no
            Gaussian, so that within it only the content of the places decides.
        about: caption that explains windows of this kind below a picture.
    """

    heads: tuple[int, ...]
    center: tuple[float, float]
    reach: tuple[float, float]
    sigma: tuple[float, float] | None
    about: str


class Channels(int):
    """Number of feature channels, an int that also carries the number of classes.

    Most poolings use it as a plain integer.

    Attributes:
        classes: number K of classes of the model.
        earlier_channels: widths of the backbone's stages before the last, finest grid first.

    >>> channels = Channels(512, classes=10, earlier_channels=(128, 256))
    >>> channels // 4, channels.earlier_channels[-1]
    (128, 256)
    """

    classes: int
    earlier_channels: tuple[int, ...]

    def __new__(
        cls, width: int, classes: int = 1, earlier_channels: tuple[int, ...] = ()
    ) -> "Channels":
        """Create an integer of value `width` with the two attributes."""
        channels = super().__new__(cls, width)
        channels.classes = classes
        channels.earlier_channels = earlier_channels
        return channels


class Pooling(nn.Module, ABC):
    """Interface of a pooling: attention over the places of a feature map.

    A subclass takes `channels` as its first argument (the backbone supplies it), has defaults for
    all other arguments, and sets `context_channels`, the width n*d of the context vector. A
    pooling that also attends to earlier layers of the backbone sets `earlier_layers` to their
    number. It then receives their feature maps after the last one, finest grid first:
    `forward(features, *earlier)`. In pictures a head is called by `head_kind` and a number.
    """

    context_channels: int
    earlier_layers: int = 0
    head_kind: str = "head"

    @abstractmethod
    def forward(self, features: Tensor) -> Pooled:
        """Compute attention weights and values of `features` (B, C, h, w)."""

    def windows_of(self, features: Tensor, *earlier: Tensor) -> list[list[Window]]:
        """The heads' attention windows for each image; empty lists for global attention."""
        return [[] for _ in features]

    def head_kinds(self, features: Tensor, *earlier: Tensor) -> list[str]:
        """What kind of attention each head is, for its name in pictures: `head_kind` for all.

        A pooling that is composed of others gives the kinds of theirs.
        """
        return [self.head_kind] * self(features, *earlier).weights.shape[1]

    def make_head(self, num_classes: int) -> nn.Linear:
        """Create the linear head on the context; class-specific poolings override this."""
        return nn.Linear(self.context_channels, num_classes)


def head_names(weights: Tensor, kinds: list[str]) -> list[str]:
    """Names of all heads: kind and number, or the kind alone if there is one head.

    A pooling that concatenates others cuts wide heads into parts with the same weights, which
    have the same number.

    >>> weights = torch.tensor([[0.25, 0.75], [0.25, 0.75], [0.5, 0.5]]).view(1, 3, 1, 2)
    >>> head_names(weights, ["global", "global", "window"])
    ['global 1', 'global 1', 'window 2']
    >>> head_names(weights[:, :2], ["average", "average"])
    ['average', 'average']
    """
    different = (weights[:, 1:] != weights[:, :-1]).flatten(2).any(2).any(0)
    numbers = torch.cat([different.new_ones(1), different]).cumsum(0).tolist()
    if numbers[-1] == 1:
        return kinds
    return [f"{kind} {number}" for kind, number in zip(kinds, numbers, strict=True)]


PoolingFactory = Callable[[Channels], Pooling]
"""Builds a pooling from the number of channels; a configuration sets all other arguments."""


def split_heads(features: Tensor, heads: int) -> Tensor:
    """Split the channels among the heads: (B, C, h, w) to (B, n, C/n, h, w).

    >>> split_heads(torch.zeros(2, 6, 3, 5), heads=2).shape
    torch.Size([2, 2, 3, 3, 5])
    """
    return features.unflatten(1, (heads, features.shape[1] // heads))


def check_heads(channels: int, heads: int) -> None:
    """Check that the number of heads divides the number of channels.

    Raises:
        UserError: it does not; the message lists the numbers up to 16 that do.
    """
    if heads < 1 or channels % heads:
        divisors = [str(n) for n in range(1, 17) if channels % n == 0]
        raise UserError(
            f"{heads} heads do not divide the backbone's {channels} channels; "
            f"heads can be {', '.join(divisors)}."
        )


def at_least_float32(scores: Tensor) -> Tensor:
    """Cast half-precision scores to float32, so that their softmax sums to 1 under autocast.

    >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return scores if scores.dtype == torch.float64 else scores.float()


def learned_queries(heads: int, channels: int) -> nn.Parameter:
    """Initialize learned queries (n, C) from a normal distribution of standard deviation 0.1.

    They are small, so that training starts near average pooling, but not zero, so that the heads
    differ.
    """
    queries = nn.Parameter(torch.empty(heads, channels))
    nn.init.normal_(queries, std=0.1)
    return queries


def softmax_over_places(scores: Tensor) -> Tensor:
    """Spatial softmax over the last two axes, in float32 or float64.

    In half precision, as under autocast, the weights would not sum to 1.

    >>> softmax_over_places(torch.zeros(1, 1, 2, 5))[0, 0, 0, 0]
    tensor(0.1000)
    """
    scores = at_least_float32(scores)
    return scores.flatten(-2).softmax(-1).view_as(scores)


def hardmax_over_places(scores: Tensor) -> Tensor:
    """Hardmax over the last two axes: all weight on the largest score.

    Ties share the weight, as in the gradient of a maximum.

    >>> hardmax_over_places(torch.tensor([[[[1.0, 3.0, 3.0]]]]))
    tensor([[[[0.0000, 0.5000, 0.5000]]]])
    """
    largest = at_least_float32((scores == scores.amax((-2, -1), keepdim=True)).to(scores.dtype))
    return largest / largest.sum((-2, -1), keepdim=True)


class KeyNorm(nn.Module):
    """Attention keys: layer norm over the channels of each place, without a key projection.

    The norm makes scores independent of the scale of the backbone's features. Values are not
    normalized.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Normalize features (B, C, h, w) over C."""
        return self.norm(features.movedim(1, -1)).movedim(-1, 1)

    def scores(self, features: Tensor, queries: Tensor) -> Tensor:
        """Scaled dot-product scores <q_n, LN(x_i)> / sqrt(C) of queries (n, C): (B, n, h, w).

        This is one matrix product, in the memory layout (channels last) of a CNN's features.
        """
        keys = self.norm(features.movedim(1, -1))
        return (keys @ queries.T).movedim(-1, 1) * queries.shape[1] ** -0.5
