"""What a model says of every image of a split, and the scores of that."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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

AT_ONCE = 64  # images
Precision = Callable[[], AbstractContextManager]


@dataclass(frozen=True)
class SplitPredictions:
    """What a model said of N images of K classes.

    Attributes:
        stage: the split, "test" or "val".
        split: the images.
        class_names: in the order of the logits.
        places: (N,), of each image its place in the split.
        targets: (N,), the true classes.
        logits: (N, K).
        chances: (N, K), probabilities.
        unreadable: how many images could not be read.
    """

    stage: str
    split: Split
    class_names: list[str]
    places: Tensor
    targets: Tensor
    logits: Tensor
    probabilities: Tensor
    unreadable: int = 0

    @property
    def predicted(self) -> Tensor:
        """The likeliest class of each image (N,)."""
        return self.logits.argmax(1)

    @property
    def correct(self) -> Tensor:
        """Whether it is the true one (N,), bool."""
        return self.predicted == self.targets

    @property
    def confidence(self) -> Tensor:
        """The probability of the likeliest class (N,)."""
        return self.probabilities.gather(1, self.predicted.unsqueeze(1)).squeeze(1)

    def scores(self) -> dict[str, float]:
        """The scores of a stage, but for the loss; NaN where one has no meaning."""
        # Of several processes, one alone writes the page: the others cannot be asked.
        scores = ClassificationMetrics("test", len(self.class_names), shared=False)
        scores.add(self.logits, self.probabilities, self.targets, torch.zeros(()))
        found = {name.removeprefix("test/"): float(x) for name, x in scores.compute().items()}
        del found["loss"]
        return found

    def confusion(self) -> Tensor:
        """How many images of each true class (rows) were told as each class (columns), (K, K)."""
        count = len(self.class_names)
        return multiclass_confusion_matrix(self.predicted, self.targets, count)

    def by_class(self) -> list["ClassScore"]:
        """Scores of each class, in the order of the logits."""
        asked = (self.predicted, self.targets, len(self.class_names))
        columns = [
            measure(*asked, average="none").tolist()
            for measure in (multiclass_precision, multiclass_recall, multiclass_f1_score)
        ]
        matrix = self.confusion()
        images, told = matrix.sum(1).tolist(), matrix.sum(0).tolist()
        rows = zip(self.class_names, images, told, *columns, strict=True)
        return [
            ClassScore(name, count, times, p if times else None, r if count else None, f)
            for name, count, times, p, r, f in rows
        ]

    def calibration(self) -> list["Bin"]:
        """How often the model is right where it is about so sure; bins without images left out."""
        edges = torch.linspace(0, 1, CALIBRATION_BINS + 1)
        places = torch.bucketize(self.confidence, edges[1:-1])  # the upper edge belongs to a bin
        found = [places == k for k in range(CALIBRATION_BINS)]
        return [
            Bin(
                int(inside.sum()),
                float(self.confidence[inside].mean()),
                float(self.correct[inside].float().mean()),
            )
            for inside in found
            if inside.any()
        ]


@dataclass(frozen=True)
class ClassScore:
    """One class: its images, how often it was told, and scores; None where there is nothing."""

    name: str
    images: int
    told: int
    precision: float | None
    recall: float | None
    f1: float


@dataclass(frozen=True)
class Bin:
    """Images of which the model is about equally sure."""

    images: int
    confidence: float
    accuracy: float


@torch.no_grad()
def predict_split(
    model: AttentionClassifier,
    data: ImageDataModule,
    stage: str,
    precision: Precision = nullcontext,
    seconds: float = float("inf"),
) -> SplitPredictions:
    """Ask a model about the images of a split, in an order drawn once, until the time is up.

    Args:
        model: in eval mode.
        data: whose split it is.
        stage: "test" or "val".
        precision: makes the context in which the model computes.
        seconds: after so many no further batch is begun.

    Raises:
        UserError: none of the images could be read.
    """
    split = data.split(stage)
    device = model.backbone.mean.device
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    parts = list(order.split(AT_ONCE))
    started = time.monotonic()
    places: list[int] = []
    logits, unreadable = [], 0
    for part in progress(parts, f"predicting {stage}", len(parts), "batches"):
        found = read_many(split, part.tolist(), data.image_size)
        images = {index: image for index, image, _ in found if image is not None}
        unreadable += len(part) - len(images)
        places += images
        if images:
            batch = to_unit_range(torch.stack(list(images.values())).to(device))
            with precision():
                logits.append(model(batch).float())
        if time.monotonic() - started > seconds:
            break
    if not places:
        raise UserError(f"none of the {stage} images could be read.")
    told = torch.cat(logits)
    targets = torch.tensor([data.class_names.index(split.labels[place]) for place in places])
    return SplitPredictions(
        stage,
        split,
        data.class_names,
        torch.tensor(places),
        targets,
        told.cpu(),
        model.probabilities(told).cpu(),
        unreadable,
    )
