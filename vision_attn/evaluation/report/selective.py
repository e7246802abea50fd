"""Which answers to accept: accuracy above a confidence threshold (selective accuracy).

A classifier that may abstain is described by its coverage (the share of images that it answers)
and its accuracy on those (El-Yaniv & Wiener, JMLR 2010; Geifman & El-Yaniv, NeurIPS 2017).
"""

from dataclasses import dataclass

from torch import Tensor

from vision_attn.evaluation.report.intervals import wilson

THRESHOLDS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Acceptance:
    """The answers whose confidence is at least a threshold.

    Attributes:
        threshold: the lowest confidence that is accepted.
        answered: number of images with such a confidence.
        correct: how many of them are classified correctly.
        images: number of all images.
    """

    threshold: float
    answered: int
    correct: int
    images: int

    @property
    def coverage(self) -> float:
        """The share of images that are answered."""
        return self.answered / self.images

    @property
    def accuracy(self) -> float:
        """The share of the answers that are right."""
        return self.correct / self.answered

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy."""
        return wilson(self.correct, self.answered)


def acceptances(confidence: Tensor, correct: Tensor) -> list[Acceptance]:
    """Selective accuracy at each threshold; a threshold that changes nothing is left out.

    Args:
        confidence: probability of the predicted class (N,).
        correct: whether each prediction is right (N,), bool.

    >>> import torch
    >>> confidence, correct = torch.tensor([0.3, 0.55, 0.9]), torch.tensor([False, True, True])
    >>> [(a.threshold, a.answered, a.correct) for a in acceptances(confidence, correct)]
    [(0.0, 3, 2), (0.4, 2, 2), (0.6, 1, 1)]
    """
    found: list[Acceptance] = []
    for threshold in THRESHOLDS:
        accepted = confidence >= threshold
        answered = int(accepted.sum())
        if answered and (not found or answered < found[-1].answered):
            right = int(correct[accepted].sum())
            found.append(Acceptance(threshold, answered, right, len(confidence)))
    return found


def coverage_curve(confidence: Tensor, correct: Tensor) -> tuple[list[float], list[float]]:
    """Coverage and accuracy if the k most confident answers are accepted, for k of 1 to N.

    Answers of equal confidence are accepted together.

    >>> import torch
    >>> coverage_curve(torch.tensor([0.5, 0.9, 0.5, 0.4]), torch.tensor([True, True, True, False]))
    ([0.25, 0.75, 1.0], [1.0, 1.0, 0.75])
    """
    order = confidence.argsort(descending=True, stable=True)
    ranked, right = confidence[order], correct[order].float().cumsum(0)
    last = [k for k in range(len(order)) if k + 1 == len(order) or ranked[k + 1] < ranked[k]]
    return [(k + 1) / len(order) for k in last], [float(right[k]) / (k + 1) for k in last]
