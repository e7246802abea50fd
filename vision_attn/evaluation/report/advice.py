"""Warnings of the report: what is wrong with a run, one line each, with what to do."""

import math
from collections import Counter
from collections.abc import Iterator

from vision_attn.core.errors import few_of
from vision_attn.evaluation.report.curves import Curves
from vision_attn.evaluation.report.predictions import ClassScore, SplitPredictions

IMBALANCE = 10  # ratio of the sizes of the largest and the smallest training class
MIN_PER_CLASS = 10  # images; with fewer, the scores of a class are mostly chance
MIN_IMAGES = 200  # in the split
OVERFITTING_GAP = 0.15  # training accuracy minus validation accuracy
UNDERFITTING = 0.7  # training accuracy
UNCALIBRATED = 0.1  # expected calibration error
MAX_NAMES = 5  # classes named in a sentence


def wilson(correct: int, images: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a proportion such as the accuracy (Wilson 1927).

    >>> [round(edge, 3) for edge in wilson(8, 10)]
    [0.49, 0.943]
    """
    share = correct / images
    center = (share + z * z / (2 * images)) / (1 + z * z / images)
    spread = math.sqrt(share * (1 - share) / images + z * z / (4 * images**2))
    half_width = z * spread / (1 + z * z / images)
    return center - half_width, center + half_width


def advice(predictions: SplitPredictions, curves: Curves, train: Counter[str]) -> list[str]:
    """Warnings about a run, with what to do about each; none if there is no problem.

    Args:
        predictions: the predictions of the model for the split that is reported.
        curves: the training curves.
        train: number of training images per class.
    """
    return [
        *class_warnings(predictions.by_class(), predictions.stage),
        *fitting_warnings(curves),
        *imbalance_warnings(train),
        *image_warnings(predictions),
    ]


def class_warnings(classes: list[ClassScore], stage: str) -> Iterator[str]:
    """Warnings about classes that are never predicted, and classes without images."""
    never = [score.name for score in classes if score.images and not score.predicted]
    if never:
        yield (
            f"Never predicted: {few_of(never, MAX_NAMES)}. Look at the images of such a class; it "
            "may need more images, or should be merged with another class."
        )
    absent = [score.name for score in classes if not score.images]
    if absent:
        yield (
            f"No {stage} images of {few_of(absent, MAX_NAMES)}: the scores say nothing about how "
            "well the model does there."
        )


def fitting_warnings(curves: Curves) -> Iterator[str]:
    """Warnings about overfitting and underfitting."""
    train, val = (curves.values.get(f"{name}/accuracy", {}) for name in ("train", "val"))
    if curves.best is None or curves.best not in train:
        return
    train_accuracy, val_accuracy = train[curves.best], val[curves.best]
    if train_accuracy - val_accuracy > OVERFITTING_GAP:
        yield (
            f"Overfitting: the accuracy is {train_accuracy:.0%} on training images and "
            f"{val_accuracy:.0%} on validation images. More images, stronger augmentation or "
            "pretrained weights help most."
        )
    elif train_accuracy < UNDERFITTING:
        yield (
            f"Underfitting: the accuracy on training images is only {train_accuracy:.0%}. Train "
            "longer (--trainer.max_epochs), or from pretrained weights."
        )


def imbalance_warnings(train: Counter[str]) -> Iterator[str]:
    """A warning about class imbalance in the training images."""
    if not train:
        return
    (largest, most), (smallest, least) = train.most_common(1)[0], train.most_common()[-1]
    if least and most / least >= IMBALANCE:
        yield (
            f"Class imbalance: {most} training images of {largest} and {least} of {smallest}. "
            "Accuracy mostly reflects the large classes: read balanced accuracy and macro F1."
        )


def image_warnings(predictions: SplitPredictions) -> Iterator[str]:
    """Warnings about too few images, unreadable images, and miscalibrated probabilities."""
    count, correct = len(predictions.targets), int(predictions.correct.sum())
    stage = predictions.stage
    small = [score.name for score in predictions.by_class() if 0 < score.images < MIN_PER_CLASS]
    if count < MIN_IMAGES:
        low, high = wilson(correct, count)
        yield (
            f"Only {count} {stage} images: the true accuracy is between {low:.0%} and {high:.0%} "
            "(95 % confidence interval)."
        )
    if small:
        yield (
            f"Fewer than {MIN_PER_CLASS} {stage} images of {few_of(small, MAX_NAMES)}: the scores "
            "of such a class are mostly chance."
        )
    if predictions.unreadable:
        yield f"{predictions.unreadable} {stage} images could not be read and are left out."
    confidence = float(predictions.confidence.mean())
    if predictions.scores()["calibration_error"] > UNCALIBRATED:
        kind = "overconfident" if confidence > correct / count else "underconfident"
        yield (
            f"The model is {kind}: its probabilities rank predictions, but are not calibrated; do "
            "not read them as the share of correct predictions."
        )
