"""Regularized logistic regression: the convex solution that the linear head starts from.

Axes: N rows (one per image and view), D channels of the context, K classes.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

Array = NDArray[np.float64]

MAX_ITERATIONS = 300  # of L-BFGS; what is left to gain after them changes no prediction
TOLERANCE = 1e-4  # largest gradient at which L-BFGS stops
SMALLEST = 1e-10  # of the largest variance: directions below it are rounding errors


@dataclass(frozen=True)
class LinearHead:
    """A linear head: logits of a context x are `weight @ x + bias`.

    Attributes:
        weight: (K, D), float64.
        bias: (K,), float64.
    """

    weight: Array
    bias: Array

    def logits(self, contexts: Array) -> Array:
        """Logits (N, K) of contexts (N, D)."""
        return contexts @ self.weight.T + self.bias


@dataclass(frozen=True)
class RowSpace:
    """Contexts, centered, scaled and rotated into the space that their rows span.

    The penalty of logistic regression is the squared norm of the weights, which a rotation keeps,
    and the solution lies in the span of the rows. So with fewer rows than channels the same
    solution is found with N numbers per row instead of D (Hastie & Tibshirani 2004, "Efficient
    quadratic regularization for expression arrays", section 2).

    Attributes:
        rows: (N, r), the coordinates; the mean squared length of a row is 1, so that a strength
            means the same for features of any scale.
        basis: (r, D), orthonormal directions; None if the coordinates are the channels themselves.
        mean: (D,), subtracted from contexts.
        scale: by which they are then divided.
    """

    rows: Array
    basis: Array | None
    mean: Array
    scale: float

    def head(self, coefficients: Array, intercepts: Array) -> LinearHead:
        """The head on contexts of one on coordinates: coefficients (K, r), intercepts (K,)."""
        weight = coefficients if self.basis is None else coefficients @ self.basis
        weight = weight / self.scale
        return LinearHead(weight, intercepts - weight @ self.mean)


def row_space(contexts: Array) -> RowSpace:
    """Center, scale and rotate contexts (N, D).

    >>> space = row_space(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))  # 2 rows, 1 direction
    >>> space.rows.shape, space.mean.tolist(), round(space.scale**2, 9)  # (1 + 0 + 1) per row
    ((2, 1), [2.0, 2.0, 2.0], 2.0)
    """
    mean = contexts.mean(0)
    centered = contexts - mean
    scale = float(np.sqrt(np.square(centered).sum(1).mean())) or 1.0
    centered = centered / scale
    if centered.shape[0] >= centered.shape[1]:
        return RowSpace(centered, None, mean, scale)
    variances, vectors = np.linalg.eigh(centered @ centered.T)
    kept = variances > SMALLEST * max(float(variances[-1]), SMALLEST)
    lengths = np.sqrt(variances[kept])
    basis = (vectors[:, kept].T @ centered) / lengths[:, None]
    return RowSpace(vectors[:, kept] * lengths, basis, mean, scale)


def fit_head(
    space: RowSpace,
    targets: NDArray[np.int64],
    classes: int,
    strength: float,
    weights: Array,
) -> LinearHead:
    """Logistic regression with an L2 penalty.

    It minimizes, over weights W and biases b::

        1/2 |W|^2 + strength * sum_n weights_n * cross_entropy(W x_n + b, target_n)

    (scikit-learn's `LogisticRegression`, whose C is the strength.) A class without rows is never
    predicted: its weights are 0 and its bias lies below that of all others.

    Args:
        space: the contexts.
        targets: (N,), class numbers.
        classes: K.
        strength: of the data against the penalty, for rows of length 1.
        weights: (N,), how much each row counts.
    """
    present = np.unique(targets)
    coefficients = np.zeros((classes, space.rows.shape[1]))
    intercepts = np.zeros(classes)
    if len(present) > 1:
        # Of two classes, scikit-learn penalizes the difference of both rows, twice as large.
        halves = 2 if len(present) == 2 else 1
        model = LogisticRegression(C=strength * halves, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(space.rows, targets, sample_weight=weights)
        coefficients[present], intercepts[present] = both_rows(model.coef_, model.intercept_)
    absent = np.setdiff1d(np.arange(classes), present)
    intercepts[absent] = intercepts[present].min() - np.log(1 + len(targets)) - 10
    return space.head(coefficients, intercepts)


def both_rows(coefficients: Array, intercepts: Array) -> tuple[Array, Array]:
    """One row per class: of two classes, scikit-learn returns the row of the second alone.

    >>> both_rows(np.array([[2.0, -4.0]]), np.array([1.0]))[0].tolist()
    [[-1.0, 2.0], [1.0, -2.0]]
    """
    if len(coefficients) > 1:
        return coefficients, intercepts
    signs = np.array([-0.5, 0.5])
    return signs[:, None] * coefficients, signs * intercepts


def set_head(head: torch.nn.Linear, solution: LinearHead) -> None:
    """Copy a solution into the linear head of a model."""
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(solution.weight))
        head.bias.copy_(torch.from_numpy(solution.bias))


def as_array(tensor: Tensor) -> Array:
    """A tensor as a float64 array."""
    return tensor.detach().cpu().double().numpy()
