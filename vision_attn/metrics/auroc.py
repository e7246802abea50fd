"""Macro-averaged one-vs-rest AUROC that ignores classes without images."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat


class MacroAUROC(Metric):
    """Mean one-vs-rest area under the ROC curve (AUROC; Fawcett 2006, section 10).

    The mean is over the classes that have images; NaN if there is only one such class.
    torchmetrics' own macro average counts a class without images as 0.

    >>> score = MacroAUROC()
    >>> probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.7, 0.2, 0.1]])
    >>> score(probabilities, torch.tensor([0, 1, 0]))  # both pairs of each class in order
    tensor(1.)
    >>> score(probabilities, torch.tensor([0, 0, 1]))  # no pair is in order
    tensor(0.)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("probabilities", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Add probabilities (B, K) and targets (B,)."""
        self.probabilities.append(probabilities.detach())
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """Compute the mean AUROC of all images so far."""
        probabilities, targets = dim_zero_cat(self.probabilities), dim_zero_cat(self.targets)
        present = targets.unique()
        if len(present) < 2:
            return torch.full((), torch.nan, device=probabilities.device)
        areas = [binary_auroc(probabilities[:, k], (targets == k).long()) for k in present.tolist()]
        return torch.stack(areas).mean()
