"""Classification metrics per stage: a few for training, more for validation and test."""

from typing import Any

from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
)

from vision_attn.metrics.auroc import MacroAUROC
from vision_attn.metrics.balanced_accuracy import BalancedAccuracy

CALIBRATION_BINS = 15  # of equal width, as in Guo et al. 2017
PROBABILITY_METRICS = ("auroc", "calibration_error")


class ClassificationMetrics(MetricCollection):
    """Classification metrics of one stage, under names such as `val/accuracy`.

    `accuracy`, `balanced_accuracy` and `loss` always. Validation and test also have `macro_f1`
    (mean over the classes that occur or are predicted), `auroc` (one-vs-rest) and
    `calibration_error` (expected calibration error, ECE; Guo et al. 2017, arXiv 1706.04599).

    Args:
        stage: "train", "val" or "test".
        num_classes: number K of classes.
        shared: whether to combine the values of all processes in distributed training.
    """

    def __init__(self, stage: str, num_classes: int, shared: bool = True) -> None:
        options: dict[str, Any] = {"sync_on_compute": shared}
        scores: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(num_classes, average="micro", **options),
            "balanced_accuracy": BalancedAccuracy(num_classes, **options),
            "loss": MeanMetric(**options),
        }
        if stage != "train":
            scores |= {
                "macro_f1": MulticlassF1Score(num_classes, average="macro", **options),
                "auroc": MacroAUROC(**options),
                "calibration_error": MulticlassCalibrationError(
                    num_classes, CALIBRATION_BINS, **options
                ),
            }
        # No compute groups: `add` updates each metric separately, so they share no state.
        super().__init__(scores, prefix=f"{stage}/", compute_groups=False)

    def add(self, logits: Tensor, probabilities: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: logits and probabilities (B, K), targets (B,) and their mean loss.

        Predicted classes come from the logits: two probabilities near 1 may round to the same 1.
        """
        for name, score in self.items(keep_base=True, copy_state=False):
            if name == "loss":
                score.update(loss.detach(), len(targets))
            else:
                predictions = probabilities if name in PROBABILITY_METRICS else logits
                score.update(predictions.detach().float(), targets)
