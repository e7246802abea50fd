"""Predictions of a model for the images of a split, and their scores."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from vision_attn.core.errors import UserError
from vision_attn.core.progress import progress
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.io.read_many import read_many
from vision_attn.data.split import Split
from vision_attn.metrics.classification import CALIBRATION_BINS, ClassificationMetrics
from vision_attn.models.classifier import AttentionClassifier

BATCH_SIZE = 64


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions of a model for N images of K classes.

    Attributes:
        stage: the split, "test" or "val".
        split: the images.
        class_names: in the order of the logits.
        indices: (N,), the index of each image in the split.
        targets: (N,), the true classes.
        logits: (N, K).
        probabilities: (N, K), of the classes.
        unreadable: number of images that could not be read.
    """

    stage: str
    split: Split
    class_names: list[str]
    indices: Tensor
    targets: Tensor
    logits: Tensor
    probabilities: Tensor
    unreadable: int = 0

    @property
    def predicted(self) -> Tensor:
        """The predicted (top-1) class of each image (N,)."""
        return self.logits.argmax(1)

    @property
    def correct(self) -> Tensor:
        """Whether each prediction is correct (N,), bool."""
        return self.predicted == self.targets

    @property
    def confidence(self) -> Tensor:
        """The confidence: the probability of the predicted class (N,)."""
        return self.probabilities.gather(1, self.predicted.unsqueeze(1)).squeeze(1)

    def right_among_first(self, count: int) -> float:
        """The share of images whose true class is among the `count` most probable classes."""
        first = self.logits.topk(min(count, self.logits.shape[1]), 1).indices
        return float((first == self.targets.unsqueeze(1)).any(1).float().mean())

    def scores(self) -> dict[str, float]:
        """The classification metrics except the loss; NaN if a metric is undefined."""
        # Not synchronized: with several processes, only one of them writes the report.
        scores = ClassificationMetrics("test", len(self.class_names), shared=False)
        scores.add(self.logits, self.probabilities, self.targets, torch.zeros(()))
        by_name = {name.removeprefix("test/"): float(x) for name, x in scores.compute().items()}
        del by_name["loss"]
        return by_name

    def confusion(self) -> Tensor:
        """Confusion matrix (K, K): number of images per true class (rows) and predicted class."""
        count = len(self.class_names)
        return multiclass_confusion_matrix(self.predicted, self.targets, count)

    def by_class(self) -> list["ClassScore"]:
        """Precision, recall and F1 of each class, in the order of the logits."""
        inputs = (self.predicted, self.targets, len(self.class_names))
        columns = [
            metric(*inputs, average="none").tolist()
            for metric in (multiclass_precision, multiclass_recall, multiclass_f1_score)
        ]
        matrix = self.confusion()
        counts = [x.tolist() for x in (matrix.sum(1), matrix.sum(0), matrix.diagonal())]
        rows = zip(self.class_names, *counts, *columns, strict=True)
        return [
            ClassScore(name, count, times, right, p if times else None, r if count else None, f)
            for name, count, times, right, p, r, f in rows
        ]

    def calibration(self) -> list["Bin"]:
        """Accuracy and mean confidence per confidence bin; bins without images are left out."""
        edges = torch.linspace(0, 1, CALIBRATION_BINS + 1)
        bins = torch.bucketize(self.confidence, edges[1:-1])  # a bin includes its upper edge
        members = [bins == k for k in range(CALIBRATION_BINS)]
        return [
            Bin(
                int(inside.sum()),
                float(self.confidence[inside].mean()),
                float(self.correct[inside].float().mean()),
            )
            for inside in members
            if inside.any()
        ]


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class.

    Attributes:
        name: of the class.
        images: number of images of the class.
        predicted: number of images predicted as the class.
        correct: number of images of the class that are predicted as it.
        precision: share of correct predictions among those of the class; None without predictions.
        recall: share of the images of the class that are predicted as it; None without images.
        f1: harmonic mean of precision and recall.
    """

    name: str
    images: int
    predicted: int
    correct: int
    precision: float | None
    recall: float | None
    f1: float


@dataclass(frozen=True)
class Bin:
    """A bin of the calibration plot: images with about the same confidence."""

    images: int
    confidence: float
    accuracy: float


@torch.no_grad()
def predict_split(
    model: AttentionClassifier,
    data: ImageDataModule,
    stage: str,
    seconds: float = float("inf"),
) -> SplitPredictions:
    """Predict the images of a split in a fixed random order, until the time is up.

    In float32, as `vision-attn predict` does, so that both give the same probabilities.

    Args:
        model: in eval mode.
        data: the data module that has the split.
        stage: "test" or "val".
        seconds: time limit, after which no further batch is started.

    Raises:
        UserError: no image could be read.
    """
    split = data.split(stage)
    device = model.backbone.mean.device
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    batches = list(order.split(BATCH_SIZE))
    started = time.monotonic()
    indices: list[int] = []
    logits, unreadable = [], 0
    for batch_indices in progress(batches, f"predicting {stage}", len(batches), "batches"):
        results = read_many(split, batch_indices.tolist(), data.image_size)
        images = {index: image for index, image, _ in results if image is not None}
        unreadable += len(batch_indices) - len(images)
        indices += images
        if images:
            batch = to_unit_range(torch.stack(list(images.values())).to(device))
            logits.append(model(batch).float())
        if time.monotonic() - started > seconds:
            break
    if not indices:
        raise UserError(
            f"none of the {stage} images could be read; look for problems with vision-attn check."
        )
    all_logits = torch.cat(logits)
    targets = torch.tensor([data.class_names.index(split.labels[index]) for index in indices])
    return SplitPredictions(
        stage,
        split,
        data.class_names,
        torch.tensor(indices),
        targets,
        all_logits.cpu(),
        model.probabilities(all_logits).cpu(),
        unreadable,
    )
