"""Temperature scaling against a search over many temperatures, in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vision_attn.metrics.temperature_scaling import (
    calibration_error,
    fit_temperature,
    log_loss,
    scaled_log_loss,
)


def noisy(count: int, classes: int, signal: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (N, K) that are often right, and targets (N,)."""
    random = np.random.default_rng(seed)
    targets = random.integers(classes, size=count)
    logits = signal * np.eye(classes)[targets] + 2 * random.normal(size=(count, classes))
    return torch.from_numpy(logits), torch.from_numpy(targets)


def search(logits: Tensor, target_shares: np.ndarray) -> tuple[float, float]:
    """The smallest log loss over many temperatures, and its temperature, written out."""
    rows, best = logits.numpy(), (np.inf, 0.0)
    for temperature in np.geomspace(0.01, 100, 20_001):
        scaled = rows / temperature
        highest = scaled.max(1, keepdims=True)
        log_sums = highest + np.log(np.exp(scaled - highest).sum(1, keepdims=True))
        loss = float((target_shares * (log_sums - scaled)).sum(1).mean())
        best = min(best, (loss, float(temperature)))
    return best


@pytest.mark.parametrize(("count", "classes"), [(53, 5), (31, 2), (97, 13)])
def test_against_a_search(count: int, classes: int) -> None:
    logits, targets = noisy(count, classes, signal=3.0)
    loss, _ = search(logits, np.eye(classes)[targets])
    assert scaled_log_loss(logits, targets) == pytest.approx(loss, abs=1e-6)
    shares = np.full((count, classes), 1 / (count + 2) / (classes - 1))
    shares[np.arange(count), targets] = (count + 1) / (count + 2)
    _, temperature = search(logits, shares)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=2e-3)


@pytest.mark.parametrize("factor", [0.05, 7.0])
def test_logits_that_are_all_too_large_by_a_factor(factor: float) -> None:
    logits, targets = noisy(61, 5, signal=3.0)
    scaled = factor * logits
    expected = factor * fit_temperature(logits, targets)
    assert fit_temperature(scaled, targets) == pytest.approx(expected, rel=1e-4)
    assert scaled_log_loss(scaled, targets) == pytest.approx(
        scaled_log_loss(logits, targets), abs=1e-6
    )


@pytest.mark.parametrize("count", [11, 101])
def test_images_that_are_all_right(count: int) -> None:
    """The more of them, the surer: (N + 1) / (N + 2)."""
    targets = torch.arange(count) % 3
    logits = 40 * torch.eye(3, dtype=torch.float64)[targets]
    confidence = (logits / fit_temperature(logits, targets)).softmax(1).max(1).values
    torch.testing.assert_close(
        confidence, torch.full((count,), (count + 1) / (count + 2)).double(), rtol=1e-4, atol=0
    )


def test_images_that_are_all_wrong() -> None:
    targets = torch.arange(31) % 3
    logits = 4 * torch.eye(3, dtype=torch.float64)[(targets + 1) % 3]
    temperature = fit_temperature(logits, targets)
    assert np.isfinite(temperature)
    assert log_loss(logits, targets, temperature) < log_loss(logits, targets, 1.0)


def test_calibration_error_by_hand() -> None:
    """Fifteen bins; .75 in four of four right and .6 in one of two: 4/6 x .25 + 2/6 x .1."""
    confident = torch.tensor([0.75, 0.25]).log()
    unsure = torch.tensor([0.6, 0.4]).log()
    logits = torch.stack([confident] * 4 + [unsure] * 2)
    targets = torch.tensor([0, 0, 0, 0, 0, 1])
    assert calibration_error(logits, targets) == pytest.approx(4 / 6 * 0.25 + 2 / 6 * 0.1, abs=1e-6)
