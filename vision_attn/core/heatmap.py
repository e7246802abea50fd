"""Heatmap: the map of one image for one class, and what it should add up to."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Heatmap:
    """A map of one image.

    Attributes:
        name: the name that is shown, such as "evidence" or "evidence: cat".
        values: (h, w), raw, at the resolution of the method.
        signed: whether the map has negative values, which are evidence against the class.
        target: the class that the map explains.
        expected_sum: what the values should add up to; None if the method makes no such claim.
        head: the index of the attention head, if the values are its weights.
        group: the name of the maps whose values can be compared with these and which are drawn in
            the same colors; empty for the maps of the same method.

    >>> import torch
    >>> Heatmap("evidence", torch.tensor([[1.0, 2.0]]), signed=True, expected_sum=4.0).error
    0.25
    """

    name: str
    values: Tensor
    signed: bool
    target: str = ""
    expected_sum: float | None = None
    head: int | None = None
    group: str = ""

    @property
    def error(self) -> float | None:
        """The completeness error, relative to the expected sum; None if there is none."""
        if self.expected_sum is None:
            return None
        expected = self.values.new_tensor(self.expected_sum).double()
        return float(completeness_error(self.values, expected))


def completeness_error(maps: Tensor, expected_sums: Tensor) -> Tensor:
    """How far maps (..., h, w) are from adding up to their expected sums (...), relative to these.

    Completeness: Sundararajan et al. 2017 (arXiv 1703.01365).

    >>> import torch
    >>> maps = torch.tensor([[[1.0, 2.0]], [[-3.0, 0.5]]])
    >>> completeness_error(maps, torch.tensor([4.0, -2.0]))
    tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    return (maps.double().sum((-2, -1)) - expected_sums).abs() / expected_sums.abs()
