"""How well chances rank the images of a class before all others, also where a class has none."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat


class OneAgainstRest(Metric):
    """Mean area under the ROC curve of each class against the rest (Fawcett 2006, section 10).

    The mean is over the classes that have images; NaN where there is only one such class.
    torchmetrics' own macro average counts a class without images as 0.

    >>> score = OneAgainstRest()
    >>> chances = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.7, 0.2, 0.1]])
    >>> score(chances, torch.tensor([0, 1, 0]))  # class 0: both pairs in order; class 1 likewise
    tensor(1.)
    >>> score(chances, torch.tensor([0, 0, 1]))  # no pair is in order
    tensor(0.)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    chances: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("chances", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, chances: Tensor, targets: Tensor) -> None:
        """Add probabilities (B, K) and targets (B,)."""
        self.chances.append(chances.detach())
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """The score so far."""
        chances, targets = dim_zero_cat(self.chances), dim_zero_cat(self.targets)
        present = targets.unique()
        if len(present) < 2:
            return torch.full((), torch.nan, device=chances.device)
        areas = [binary_auroc(chances[:, k], (targets == k).long()) for k in present.tolist()]
        return torch.stack(areas).mean()
