"""Test metrics against slow reference implementations, by hand and with missing classes."""

import numpy as np
import torch
from torch.testing import assert_close

from vision_attn.metrics.auroc import MacroAUROC
from vision_attn.metrics.classification import CALIBRATION_BINS, ClassificationMetrics


def slow_auroc(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Compute AUROC as the fraction of (positive, negative) pairs in order; ties count half."""
    areas = []
    for k in sorted(set(targets.tolist())):
        own, others = probabilities[targets == k, k], probabilities[targets != k, k]
        pairs = own[:, None] - others[None, :]
        areas.append(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    return float(np.mean(areas))


def slow_calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Compute ECE (Guo et al. 2017, equation 3): bin gaps weighted by the bins' image counts."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == targets
    error = 0.0
    for k in range(CALIBRATION_BINS):
        inside = (confidence > k / CALIBRATION_BINS) & (confidence <= (k + 1) / CALIBRATION_BINS)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return error


def compute_metrics(
    stage: str, logits: torch.Tensor, targets: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Compute the metrics of logits, added in three batches."""
    scores = ClassificationMetrics(stage, logits.shape[1])
    for part, labels in zip(logits.chunk(3), targets.chunk(3), strict=True):
        loss = torch.nn.functional.cross_entropy(part, labels)
        scores.add(part, part.softmax(1), labels, loss)
    return scores.compute()


def test_matches_the_slow_reference() -> None:
    logits, targets = torch.randn(101, 7), torch.randint(5, (101,))  # two classes have no images
    found = compute_metrics("test", logits, targets)
    probabilities = logits.softmax(1).double().numpy()
    assert_close(float(found["test/auroc"]), slow_auroc(probabilities, targets.numpy()))
    expected = slow_calibration_error(probabilities, targets.numpy())
    assert_close(float(found["test/calibration_error"]), expected, rtol=1e-5, atol=1e-6)
    assert_close(
        found["test/loss"], torch.nn.functional.cross_entropy(logits, targets), rtol=1e-5, atol=0
    )


def test_macro_f1_by_hand() -> None:
    """Labels 0 0 1 1 predicted as 0 1 1 1: F1 of 2/3 and 4/5."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    scores = compute_metrics("val", logits, torch.tensor([0, 0, 1, 1]))
    assert_close(float(scores["val/macro_f1"]), (2 / 3 + 4 / 5) / 2)


def test_auroc_of_a_single_class_is_nan() -> None:
    score = MacroAUROC()
    assert score(torch.rand(5, 3), torch.zeros(5, dtype=torch.long)).isnan()


def test_training_has_only_cheap_metrics() -> None:
    names = {name.removeprefix("train/") for name in ClassificationMetrics("train", 3).keys()}  # noqa: SIM118
    assert names == {"accuracy", "balanced_accuracy", "loss"}


def test_accuracy_uses_logits_if_probabilities_round_to_one() -> None:
    """Sigmoids of 40 and 50 are both 1 in float32."""
    logits = torch.tensor([[40.0, 50.0]])
    scores = ClassificationMetrics("test", 2)
    scores.add(logits, logits.sigmoid(), torch.tensor([1]), torch.tensor(0.0))
    assert scores.compute()["test/accuracy"] == 1
