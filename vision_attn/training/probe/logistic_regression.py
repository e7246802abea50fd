"""Regularized logistic regression: the convex solution that the linear head starts from.

Axes: N rows (one per image and view), D channels of the context, K classes.
"""

import warnings
from collections.abc import Sequence
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
class Penalty:
    """The penalty on the weights of a head.

    Attributes:
        strength: of the data against the penalty, for contexts of mean squared length 1.
        shrinkage: 1 penalizes all directions alike. Less penalizes those in which contexts vary
            within a class: the squared weights are measured by `(1 - shrinkage)` times the
            covariance within classes plus `shrinkage` times its mean variance, as in regularized
            discriminant analysis (Friedman 1989) and penalized discriminant analysis (Hastie, Buja
            & Tibshirani 1995). Such variation tells images apart, not classes.
    """

    strength: float
    shrinkage: float = 1.0


@dataclass(frozen=True)
class Whitening:
    """A symmetric matrix (D, D) that scales some directions by gains, and all others alike.

    Attributes:
        directions: (r, D), orthonormal.
        gains: (r,), of these directions.
        rest: gain of all directions that are orthogonal to them.
    """

    directions: Array
    gains: Array
    rest: float

    def apply(self, rows: Array) -> Array:
        """Rows (N, D) times the matrix."""
        along = (rows @ self.directions.T) * (self.gains - self.rest)
        return rows * self.rest + along @ self.directions


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
        scale: (D,), by which they are then divided.
        whitening: which is then applied; None for a penalty that is the same in all directions.
    """

    rows: Array
    basis: Array | None
    mean: Array
    scale: Array
    whitening: Whitening | None = None

    def head(self, coefficients: Array, intercepts: Array) -> LinearHead:
        """The head on contexts of one on coordinates: coefficients (K, r), intercepts (K,)."""
        weight = coefficients if self.basis is None else coefficients @ self.basis
        weight = weight if self.whitening is None else self.whitening.apply(weight)
        weight = weight / self.scale
        return LinearHead(weight, intercepts - weight @ self.mean)


def row_space(
    contexts: Array,
    targets: NDArray[np.int64] | None = None,
    shrinkage: float = 1.0,
    blocks: Sequence[int] = (),
) -> RowSpace:
    """Center, scale and rotate contexts (N, D).

    Args:
        contexts: one row per image and view.
        targets: (N,), class numbers; needed if `shrinkage` is less than 1.
        shrinkage: of the covariance within classes; see `Penalty`.
        blocks: widths of parts of the context, each of which is scaled to the same mean squared
            length; none scales all channels alike.

    >>> space = row_space(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))  # 2 rows, 1 direction
    >>> space.rows.shape, space.mean.tolist(), (space.scale**2).round(9).tolist()  # 1 + 0 + 1
    ((2, 1), [2.0, 2.0, 2.0], [2.0, 2.0, 2.0])
    """
    mean = contexts.mean(0)
    centered = contexts - mean
    ends = np.cumsum(blocks or [contexts.shape[1]])[:-1]
    lengths = [mean_length(part) for part in np.split(centered, ends, axis=1)]
    scale = np.repeat(lengths, blocks or [contexts.shape[1]])
    scale *= mean_length(centered / scale)
    centered = centered / scale
    whitening = None
    if targets is not None and shrinkage < 1:
        whitening = within_class_whitening(centered, targets, shrinkage)
        centered = whitening.apply(centered)
    if centered.shape[0] >= centered.shape[1]:
        return RowSpace(centered, None, mean, scale, whitening)
    _, basis = principal_directions(centered)
    return RowSpace(centered @ basis.T, basis, mean, scale, whitening)


def mean_length(rows: Array) -> float:
    """Root of the mean squared length of rows (N, D); 1 if all are zero.

    >>> mean_length(np.array([[3.0, 4.0], [5.0, 0.0]]))  # the root of (25 + 25) / 2
    5.0
    """
    return float(np.sqrt(np.square(rows).sum(1).mean())) or 1.0


def within_class_whitening(rows: Array, targets: NDArray[np.int64], shrinkage: float) -> Whitening:
    """The inverse root of the shrunk covariance within classes, up to a factor.

    With it, a penalty on the squared norm is one on `w' S w`, where `S = (1 - shrinkage) * cov +
    shrinkage * mean variance`. The factor keeps the mean squared length of the rows at 1.

    >>> rows = np.array([[-2.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])  # varies along x only
    >>> found = within_class_whitening(rows, np.array([0, 0, 1, 1]), 0.5)
    >>> # The variance within classes is 1/4 along x, 1/8 on average: gains ratio 1/16 : 3/16
    >>> round((found.rest / float(found.gains[0])) ** 2, 9), mean_length(found.apply(rows))
    (3.0, 1.0)
    """
    _, inverse, counts = np.unique(targets, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), rows.shape[1]))
    np.add.at(means, inverse, rows)
    variances, directions = principal_directions(rows - (means / counts[:, None])[inverse])
    variances = variances / len(rows)
    average = float(variances.sum()) / rows.shape[1] or 1.0
    found = Whitening(
        directions,
        ((1 - shrinkage) * variances + shrinkage * average) ** -0.5,
        (shrinkage * average) ** -0.5,
    )
    length = mean_length(found.apply(rows))
    return Whitening(directions, found.gains / length, found.rest / length)


def principal_directions(rows: Array) -> tuple[Array, Array]:
    """Squared singular values (r,) of rows (N, D), and their directions (r, D), orthonormal.

    Directions whose values are rounding errors are left out.

    >>> values, directions = principal_directions(np.array([[3.0, 4.0], [6.0, 8.0]]))
    >>> values.round(9).tolist(), abs(directions).round(9).tolist()  # 25 + 100 along (3, 4) / 5
    ([125.0], [[0.6, 0.8]])
    """
    wide = rows.shape[0] < rows.shape[1]
    values, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    kept = values > SMALLEST * max(float(values[-1]), SMALLEST)
    values, vectors = values[kept], vectors[:, kept]
    return values, (vectors.T @ rows) / np.sqrt(values)[:, None] if wide else vectors.T


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
