"""Scores: against slow twins and hand-made cases, and where a class is missing."""

import numpy as np
import torch
from torch.testing import assert_close

from vision_attn.metrics.auroc import MacroAUROC
from vision_attn.metrics.classification import CALIBRATION_BINS, ClassificationMetrics


def slow_auroc(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Share of the pairs (one of the class, one of another) in order; ties count half."""
    areas = []
    for k in sorted(set(targets.tolist())):
        own, others = probabilities[targets == k, k], probabilities[targets != k, k]
        pairs = own[:, None] - others[None, :]
        areas.append(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    return float(np.mean(areas))


def slow_calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Guo et al. 2017, equation 3: the gap of each bin, weighed by its share of the images."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == targets
    error = 0.0
    for k in range(CALIBRATION_BINS):
        inside = (sure > k / CALIBRATION_BINS) & (sure <= (k + 1) / CALIBRATION_BINS)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return error


def collected(stage: str, logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """The scores of logits that came in three batches."""
    scores = ClassificationMetrics(stage, logits.shape[1])
    for part, own in zip(logits.chunk(3), targets.chunk(3), strict=True):
        scores.add(part, part.softmax(1), own, torch.nn.functional.cross_entropy(part, own))
    return scores.compute()


def test_against_the_slow_twins() -> None:
    logits, targets = torch.randn(101, 7), torch.randint(5, (101,))  # two classes have no images
    found = collected("test", logits, targets)
    probabilities = logits.softmax(1).double().numpy()
    assert_close(float(found["test/auroc"]), slow_auroc(probabilities, targets.numpy()))
    expected = slow_calibration_error(probabilities, targets.numpy())
    assert_close(float(found["test/calibration_error"]), expected, rtol=1e-5, atol=1e-6)
    assert_close(
        found["test/loss"], torch.nn.functional.cross_entropy(logits, targets), rtol=1e-5, atol=0
    )


def test_macro_f1_by_hand() -> None:
    """Of 0 0 1 1 told as 0 1 1 1: F1 of 2/3 and 4/5."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    scores = collected("val", logits, torch.tensor([0, 0, 1, 1]))
    assert_close(float(scores["val/macro_f1"]), (2 / 3 + 4 / 5) / 2)


def test_one_class_alone_has_no_order() -> None:
    score = MacroAUROC()
    assert score(torch.rand(5, 3), torch.zeros(5, dtype=torch.long)).isnan()


def test_training_steps_measure_little() -> None:
    names = {name.removeprefix("train/") for name in ClassificationMetrics("train", 3).keys()}  # noqa: SIM118
    assert names == {"accuracy", "balanced_accuracy", "loss"}


def test_two_sure_classes_are_told_by_logits() -> None:
    """Sigmoids of 40 and 50 are both 1 in float32."""
    logits = torch.tensor([[40.0, 50.0]])
    scores = ClassificationMetrics("test", 2)
    scores.add(logits, logits.sigmoid(), torch.tensor([1]), torch.tensor(0.0))
    assert scores.compute()["test/accuracy"] == 1
