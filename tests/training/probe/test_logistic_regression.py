"""The logistic regression of the probe, against a slow minimization over all channels."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from vision_attn.training.probe import logistic_regression as module
from vision_attn.training.probe.logistic_regression import (
    Array,
    LinearHead,
    fit_head,
    row_space,
    set_head,
)


def slow_twin(
    contexts: Array,
    targets: Array,
    classes: int,
    strength: float,
    weights: Array,
    penalty: Array | None = None,
) -> LinearHead:
    """The same objective, minimized by Newton-like steps on the weights of all channels.

    `penalty` is a matrix (D, D) by which the squared weights on scaled contexts are measured.
    """
    x = torch.from_numpy((contexts - contexts.mean(0)) / scale_of(contexts))
    labels, counts = torch.from_numpy(targets), torch.from_numpy(weights)
    matrix = torch.from_numpy(np.eye(contexts.shape[1]) if penalty is None else penalty)
    weight = torch.zeros(classes, contexts.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=3000, tolerance_grad=1e-11, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        losses = cross_entropy(x @ weight.T + bias, labels, reduction="none")
        measured = torch.einsum("kd,de,ke->", weight, matrix, weight)
        value = measured / 2 + strength * (counts * losses).sum()
        value.backward()
        return value

    optimizer.step(objective)
    found = weight.detach().numpy() / scale_of(contexts)
    return LinearHead(found, bias.detach().numpy() - found @ contexts.mean(0))


def slow_penalty(contexts: Array, targets: Array, shrinkage: float) -> Array:
    """The shrunk covariance within classes, such that whitened contexts have squared length 1."""
    x = (contexts - contexts.mean(0)) / scale_of(contexts)
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for row, target in zip(x, targets, strict=True):
        difference = row - x[targets == target].mean(0)
        covariance += np.outer(difference, difference) / len(x)
    average = np.trace(covariance) / len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * average * np.eye(len(covariance))
    return shrunk * np.mean([row @ np.linalg.inv(shrunk) @ row for row in x])


def scale_of(contexts: Array) -> float:
    return float(np.sqrt(np.square(contexts - contexts.mean(0)).sum(1).mean()))


@pytest.mark.parametrize(("rows", "channels", "classes"), [(23, 41, 5), (47, 11, 3), (29, 7, 2)])
@pytest.mark.parametrize("strength", [0.7, 30.0])
def test_against_the_slow_twin(
    rows: int, channels: int, classes: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer rows than channels, and with more; of two classes scikit-learn has one row."""
    monkeypatch.setattr(module, "TOLERANCE", 1e-10)
    monkeypatch.setattr(module, "MAX_ITERATIONS", 10_000)
    random = np.random.default_rng(rows)
    contexts = random.normal(size=(rows, channels)) * 13 + 5
    targets = np.arange(rows) % classes
    weights = random.uniform(0.2, 1.7, rows)
    found = fit_head(row_space(contexts), targets, classes, strength, weights)
    expected = slow_twin(contexts, targets, classes, strength, weights)
    others = random.normal(size=(17, channels)) * 13 + 5
    difference = found.logits(others) - expected.logits(others)
    # A constant added to all logits changes no probability.
    assert np.abs(difference - difference.mean(1, keepdims=True)).max() < 1e-3


@pytest.mark.parametrize(("rows", "channels", "classes"), [(23, 41, 5), (47, 11, 3)])
@pytest.mark.parametrize("shrinkage", [0.9, 0.3])
def test_a_shrunk_penalty_against_the_slow_twin(
    rows: int, channels: int, classes: int, shrinkage: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 1e-10)
    monkeypatch.setattr(module, "MAX_ITERATIONS", 10_000)
    random = np.random.default_rng(rows)
    contexts = random.normal(size=(rows, channels)) * np.linspace(1, 13, channels) + 5
    targets, weights = np.arange(rows) % classes, random.uniform(0.2, 1.7, rows)
    found = fit_head(row_space(contexts, targets, shrinkage), targets, classes, 3.0, weights)
    penalty = slow_penalty(contexts, targets, shrinkage)
    expected = slow_twin(contexts, targets, classes, 3.0, weights, penalty)
    plain = fit_head(row_space(contexts), targets, classes, 3.0, weights)
    others = random.normal(size=(17, channels)) * 13 + 5
    difference, changed = (found.logits(others) - head.logits(others) for head in (expected, plain))
    assert np.abs(difference - difference.mean(1, keepdims=True)).max() < 1e-3
    assert np.abs(changed - changed.mean(1, keepdims=True)).max() > 0.1


def test_blocks_of_a_context_count_alike() -> None:
    """Whatever the scale of a block is, the logits are the same."""
    random = np.random.default_rng(5)
    contexts, targets = random.normal(size=(31, 19)), np.arange(31) % 3
    factors = np.repeat([1e-3, 1e2], [7, 12])
    small, large = (
        fit_head(row_space(x, targets, 0.9, blocks=(7, 12)), targets, 3, 10.0, np.ones(31)).logits(
            x
        )
        for x in (contexts, contexts * factors)
    )
    np.testing.assert_allclose(small, large, atol=1e-3)


def test_the_tolerance_changes_no_probability_much(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    targets = np.arange(61) % 5
    contexts = random.normal(size=(61, 97)) + 2 * np.eye(5, 97)[targets]
    space = row_space(contexts)
    found = []
    for tolerance in (module.TOLERANCE, 1e-10):
        monkeypatch.setattr(module, "TOLERANCE", tolerance)
        logits = torch.from_numpy(fit_head(space, targets, 5, 30.0, np.ones(61)).logits(contexts))
        found.append(logits.softmax(1).numpy())
    np.testing.assert_allclose(*found, atol=0.01)


def test_the_strength_means_the_same_at_any_scale() -> None:
    random = np.random.default_rng(1)
    contexts, targets = random.normal(size=(31, 19)), np.arange(31) % 3
    small, large = (
        fit_head(row_space(factor * contexts + factor), targets, 3, 10.0, np.ones(31)).logits(
            factor * contexts + factor
        )
        for factor in (1e-3, 1e3)
    )
    np.testing.assert_allclose(small, large, atol=1e-3)


def test_a_class_without_rows_is_never_predicted() -> None:
    random = np.random.default_rng(2)
    contexts = random.normal(size=(13, 7))
    head = fit_head(row_space(contexts), np.arange(13) % 2 * 2, 3, 10.0, np.ones(13))
    logits = head.logits(1000 * random.normal(size=(101, 7)) / scale_of(contexts))
    assert (logits[:, 1] < logits.max(1)).all()
    assert np.isfinite(logits).all()


def test_rows_of_a_single_class_and_equal_rows() -> None:
    for contexts in (np.ones((5, 3)), np.random.default_rng(0).normal(size=(5, 3))):
        head = fit_head(row_space(contexts), np.full(5, 1), 3, 10.0, np.ones(5))
        assert (head.logits(contexts).argmax(1) == 1).all()


def test_the_head_of_a_model() -> None:
    random = np.random.default_rng(3)
    solution = LinearHead(random.normal(size=(3, 5)), random.normal(size=3))
    head = torch.nn.Linear(5, 3)
    set_head(head, solution)
    contexts = random.normal(size=(7, 5))
    found = head(torch.from_numpy(contexts).float()).detach().numpy()
    np.testing.assert_allclose(found, solution.logits(contexts), atol=1e-5)
