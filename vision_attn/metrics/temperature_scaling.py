"""Temperature scaling: one number that makes the probabilities of a classifier readable.

Axes: N images, K classes.
"""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_calibration_error

from vision_attn.metrics.classification import CALIBRATION_BINS

LARGEST = math.exp(5)  # bounds of the temperature: beyond them probabilities are 0, 1 or 1/K
EXACT = {"xatol": 1e-6}


def log_loss(logits: Tensor, targets: Tensor, temperature: float) -> float:
    """Mean log loss of logits (N, K) divided by a temperature; targets (N,) or (N, K)."""
    return float(cross_entropy(logits.double() / temperature, targets))


def best_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature with the smallest log loss, from e^-5 to e^5."""
    found = minimize_scalar(
        lambda logarithm: log_loss(logits, targets, math.exp(logarithm)),
        bounds=(-math.log(LARGEST), math.log(LARGEST)),
        method="bounded",
        options=EXACT,
    )
    return math.exp(float(found.x))


def scaled_log_loss(logits: Tensor, targets: Tensor) -> float:
    """Mean log loss of logits (N, K) at their best temperature: what no temperature can change.

    >>> logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])  # 3 of 4 are right:
    >>> round(scaled_log_loss(logits, torch.tensor([0, 0, 1, 1])), 4)  # -3/4 ln 3/4 - 1/4 ln 1/4
    0.5623
    """
    return log_loss(logits, targets, best_temperature(logits, targets))


def scaled_log_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Log loss (N,) of each image at the best temperature of all; see `scaled_log_loss`."""
    scaled = logits.double() / best_temperature(logits, targets)
    return cross_entropy(scaled, targets, reduction="none")


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T by which logits (N, K) of held-out images are to be divided.

    It minimizes the log loss (Guo et al. 2017, "On calibration of modern neural networks", arXiv
    1706.04599). Where all images are right, the log loss alone would make every probability 1. So
    the target of the true class is (N + 1) / (N + 2) instead of 1, as in Platt scaling (Platt 1999,
    "Probabilistic outputs for support vector machines", section 2.2): even of images that are all
    right, one in N + 2 may be wrong. The rest is spread over the other classes.

    Args:
        logits: of images that the model was not trained on.
        targets: (N,), class numbers.

    >>> logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0]])
    >>> temperature = fit_temperature(logits, torch.tensor([0, 0, 1, 1]))
    >>> round(float((logits[0] / temperature).softmax(0)[0]), 4)  # all right: 5 / 6
    0.8333
    """
    count, classes = logits.shape
    rest = 1 / (count + 2)
    smoothed = torch.full((count, classes), rest / max(classes - 1, 1), dtype=torch.float64)
    smoothed[torch.arange(count), targets] = 1 - rest
    return best_temperature(logits, smoothed)


def calibration_error(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> float:
    """Expected calibration error (ECE) of the softmax of logits (N, K) divided by a temperature.

    It has 15 bins of equal width, as in Guo et al. 2017.

    >>> logits = torch.tensor([[9.0, 0.0], [9.0, 0.0]])       # sure of both, right about one
    >>> round(calibration_error(logits, torch.tensor([0, 1])), 3)
    0.5
    """
    probabilities = (logits.double() / temperature).softmax(1)
    classes = logits.shape[1]
    return float(
        multiclass_calibration_error(probabilities, targets, classes, n_bins=CALIBRATION_BINS)
    )
