"""Choose the penalty on the head and whether attention is trained, on held-out images.

The training images are split into folds. What a choice is worth is scored out of fold: each image
by a model that was fitted on the other folds.

Axes: N images, V views, D channels of the context, K classes.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from vision_attn.metrics.temperature_scaling import scaled_log_loss, scaled_log_losses
from vision_attn.pooling.base import Pooling
from vision_attn.training.probe.attention import (
    attention_steps,
    contexts_of,
    train_attention,
)
from vision_attn.training.probe.features import Features
from vision_attn.training.probe.logistic_regression import (
    Array,
    LinearHead,
    Penalty,
    as_array,
    fit_head,
    row_space,
)

STRENGTHS = (10.0, 30.0, 100.0, 300.0)
"""Strengths of the data against the penalty, for contexts of mean squared length 1."""
SHRINKAGES = (1.0, 0.9)
"""Of the covariance within classes, by which the penalty is measured; 1 is a plain penalty."""
PENALTIES = tuple(
    Penalty(strength, shrinkage) for shrinkage, strength in product(SHRINKAGES, STRENGTHS)
)
MANY = 500  # training images, from which on fewer folds are enough
FOLDS, FEWER_FOLDS = 5, 3

Labels = NDArray[np.int64]
Chosen = NDArray[np.bool_]
"""For each image whether it is meant."""


@dataclass(frozen=True)
class Choice:
    """A pooling and its head, and how good they are on held-out images.

    Attributes:
        pooling: untrained or trained.
        head: fitted on all images.
        logits: (N, K), of each image, out of fold.
        penalty: on the head.
        attends: whether the attention was trained.
    """

    pooling: Pooling
    head: LinearHead
    logits: Array
    penalty: Penalty
    attends: bool


@dataclass(frozen=True)
class Problem:
    """What all candidates are fitted on.

    Attributes:
        features: of all images and views.
        classes: K.
        balanced: whether all classes count equally.
        seed: of the folds and the order of images.
    """

    features: Features
    classes: int
    balanced: bool
    seed: int

    @property
    def targets(self) -> Labels:
        """Class numbers (N,)."""
        return self.features.targets.numpy()

    @property
    def everything(self) -> Chosen:
        """All images (N,)."""
        return np.ones(len(self.features), bool)

    @property
    def folds(self) -> Labels:
        """The fold of each image (N,)."""
        count = FOLDS if len(self.features) <= MANY else FEWER_FOLDS
        groups = self.features.groups
        if groups is None or len(groups.unique()) == len(groups):
            return stratified_folds(self.targets, count, self.seed)
        return grouped_folds(self.targets, groups.numpy(), count, self.seed)

    @property
    def weights(self) -> Array:
        """How much each view of an image counts (N,)."""
        weights = class_weights(self.targets) if self.balanced else np.ones(len(self.features))
        return weights / self.features.views


def stratified_folds(targets: Labels, folds: int, seed: int) -> Labels:
    """The fold of each image (N,), 0 to `folds` - 1; every class is spread over the folds evenly.

    Unlike scikit-learn's `StratifiedKFold`, it also accepts classes with fewer images than folds.

    >>> targets = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> found = stratified_folds(targets, 2, seed=0)
    >>> np.bincount(found[targets == 0]).tolist(), np.bincount(found[targets == 1]).tolist()
    ([2, 2], [2, 2])
    """
    generator = np.random.default_rng(seed)
    found = np.empty(len(targets), np.int64)
    first = 0  # so that small classes do not all start with the same fold
    for label in np.unique(targets):
        members = generator.permutation(np.flatnonzero(targets == label))
        found[members] = (first + np.arange(len(members))) % folds
        first += len(members)
    return found


def grouped_folds(targets: Labels, groups: Labels, folds: int, seed: int) -> Labels:
    """The fold of each image (N,), 0 to `folds` - 1; a group of related images is in one fold.

    Groups are visited from large to small, in random order where they are equally large; each goes
    to the fold with the fewest images of its first image's class, and among these to the smallest.
    Unlike scikit-learn's `StratifiedGroupKFold`, it also accepts classes with fewer groups than
    folds.

    >>> targets, groups = np.array([0, 0, 0, 0, 1, 1]), np.array([7, 7, 8, 8, 9, 6])
    >>> found = grouped_folds(targets, groups, 2, seed=0)
    >>> bool(found[0] == found[1]), bool(found[2] == found[3]), bool(found[0] == found[2])
    (True, True, False)
    """
    generator = np.random.default_rng(seed)
    _, first, number, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    visited = generator.permutation(len(sizes))
    visited = visited[np.argsort(-sizes[visited], kind="stable")]
    filled = np.zeros((folds, targets.max() + 1), np.int64)
    fold_of = np.empty(len(sizes), np.int64)
    for group in visited:
        label = targets[first[group]]
        fold_of[group] = np.lexsort((filled.sum(1), filled[:, label]))[0]
        filled[fold_of[group], label] += sizes[group]
    return fold_of[number]


def class_weights(targets: Labels) -> Array:
    """Weights (N,) with which all classes count equally; their mean is 1.

    >>> class_weights(np.array([0, 0, 0, 1])).round(3).tolist()           # 4 / (2 x 3), 4 / (2 x 1)
    [0.667, 0.667, 0.667, 2.0]
    """
    labels, inverse, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return len(targets) / (len(labels) * counts[inverse])


def loss_out_of_fold(logits: Array, problem: Problem) -> float:
    """Log loss of logits (N, K) out of fold, after temperature scaling.

    How sharp probabilities are depends on the strength of regularization, and a temperature is
    fitted at the end anyway, so candidates are compared by what it cannot change.
    """
    return scaled_log_loss(torch.from_numpy(logits), problem.features.targets)


def gain(candidate: Choice, other: Choice, problem: Problem) -> tuple[float, float]:
    """By how much the log loss out of fold of a candidate is lower, and its standard error.

    Both are scored on the same images, so the error is that of the differences per image.
    """
    one, two = (
        scaled_log_losses(torch.from_numpy(choice.logits), problem.features.targets)
        for choice in (candidate, other)
    )
    differences = two - one
    return float(differences.mean()), float(differences.std()) / len(differences) ** 0.5


def out_of_fold(problem: Problem, fit: Callable[[Chosen], Callable[[Chosen], Array]]) -> Array:
    """Scores (N, ...) of each image by the model that was fitted without its fold.

    Args:
        problem: the images and their folds.
        fit: from the images to fit on to a function that scores the held-out images.
    """
    folds = problem.folds
    held_out = [folds == fold for fold in np.unique(folds)]
    parts = [fit(~inside)(inside) for inside in held_out]
    scores = np.empty((len(folds), *parts[0].shape[1:]))
    for inside, part in zip(held_out, parts, strict=True):
        scores[inside] = part
    return scores


def fit_views(
    contexts: Array,
    problem: Problem,
    penalties: Sequence[Penalty],
    chosen: Chosen,
    blocks: Sequence[int] = (),
) -> list[LinearHead]:
    """Heads on contexts (V, N, D), one per penalty, fitted on all views of the chosen images."""
    views = len(contexts)
    rows = contexts[:, chosen].reshape(-1, contexts.shape[-1])
    targets = np.tile(problem.targets[chosen], views)
    weights = np.tile(problem.weights[chosen], views)
    spaces = {
        shrinkage: row_space(rows, targets, shrinkage, blocks)
        for shrinkage in {penalty.shrinkage for penalty in penalties}
    }
    return [
        fit_head(spaces[one.shrinkage], targets, problem.classes, one.strength, weights)
        for one in penalties
    ]


def best_head(
    contexts_without: Callable[[int | None], Array],
    problem: Problem,
    blocks: Sequence[int] = (),
    advance: Callable[[], None] = lambda: None,
) -> tuple[LinearHead, Array, Penalty]:
    """The head with the best penalty: fitted on all images, its logits (N, K) out of fold.

    Args:
        contexts_without: contexts (V, N, D) by a pooling that was trained without a fold; None
            for the pooling that was trained on all images.
        problem: the images.
        blocks: widths of parts of the context that are scaled separately.
        advance: is called after each fold.
    """
    logits = np.empty((len(problem.features), len(PENALTIES), problem.classes))
    folds = problem.folds
    for fold in np.unique(folds):
        contexts, inside = contexts_without(int(fold)), folds == fold
        heads = fit_views(contexts, problem, PENALTIES, ~inside, blocks)
        logits[inside] = np.stack([head.logits(contexts[0, inside]) for head in heads], 1)
        advance()
    losses = [loss_out_of_fold(logits[:, k], problem) for k in range(len(PENALTIES))]
    best = int(np.argmin(losses))
    penalties = PENALTIES[best : best + 1]
    (head,) = fit_views(contexts_without(None), problem, penalties, problem.everything, blocks)
    return head, logits[:, best], PENALTIES[best]


def untrained(
    pooling: Pooling, problem: Problem, advance: Callable[[], None] = lambda: None
) -> Choice:
    """The pooling as it is, with the best penalty.

    Args:
        pooling: as it is.
        problem: the images.
        advance: is called after each fold.
    """
    contexts = as_array(contexts_of(pooling, problem.features))
    head, logits, penalty = best_head(lambda _: contexts, problem, advance=advance)
    return Choice(pooling, head, logits, penalty, attends=False)


def steps_of_trainings(problem: Problem) -> int:
    """The number of steps in which `trained` trains the pooling, for every fold and at the end."""
    without = [len(problem.folds) - count for count in np.unique_counts(problem.folds).counts]
    return sum(attention_steps(int(images)) for images in (*without, len(problem.folds)))


def trained(start: Choice, problem: Problem, advance: Callable[[], None]) -> Choice:
    """A trained copy of a choice's pooling; out of fold, it is trained anew for each fold.

    Args:
        start: an untrained choice, whose penalty is kept.
        problem: the images.
        advance: is called after each step of each training; see `steps_of_trainings`.
    """
    before = as_array(contexts_of(start.pooling, problem.features))
    penalties = [start.penalty]

    def train(chosen: Chosen) -> tuple[Pooling, Array, LinearHead]:
        pooling = copy.deepcopy(start.pooling)
        (head,) = fit_views(before, problem, penalties, chosen)
        images = torch.from_numpy(np.flatnonzero(chosen))
        train_attention(pooling, head, problem.features, images, problem.seed, advance)
        contexts = as_array(contexts_of(pooling, problem.features))
        (head,) = fit_views(contexts, problem, penalties, chosen)
        return pooling, contexts[0], head

    def fit(chosen: Chosen) -> Callable[[Chosen], Array]:
        _, contexts, head = train(chosen)
        return lambda inside: head.logits(contexts[inside])

    logits = out_of_fold(problem, fit)
    pooling, _, head = train(problem.everything)
    return Choice(pooling, head, logits, start.penalty, attends=True)
