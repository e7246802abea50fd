"""Warnings of the report: what is wrong with a run, one line each, with what to do."""

from collections import Counter
from collections.abc import Iterator

from vision_attn.core.errors import few_of
from vision_attn.core.percent import percent
from vision_attn.evaluation.report.curves import Curves
from vision_attn.evaluation.report.predictions import ClassScore, SplitPredictions

IMBALANCE = 10  # ratio of the sizes of the largest and the smallest training class
MIN_PER_CLASS = 10  # images; with fewer, the scores of a class are mostly chance
MIN_IMAGES = 200  # in the split
OVERFITTING_GAP = 0.15  # training accuracy minus validation accuracy
UNDERFITTING = 0.7  # training accuracy
UNCALIBRATED = 0.1  # expected calibration error
MAX_NAMES = 5  # classes named in a sentence


def advice(
    predictions: SplitPredictions, curves: Curves, train: Counter[str], pretrained: bool = False
) -> list[str]:
    """Warnings about a run, the worst first, with what to do about each.

    Args:
        predictions: the predictions of the model for the split that is reported.
        curves: the training curves.
        train: number of training images per class.
        pretrained: whether the run began with pretrained weights.
    """
    return [
        *class_warnings(predictions.by_class(), predictions.stage),
        *fitting_warnings(curves, train, pretrained),
        *imbalance_warnings(train),
        *calibration_warnings(predictions),
        *few_images_warnings(predictions),
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


def fitting_warnings(curves: Curves, train: Counter[str], pretrained: bool) -> Iterator[str]:
    """Warnings about overfitting and underfitting."""
    fitted, val = (curves.values.get(f"{name}/accuracy", {}) for name in ("train", "val"))
    if curves.best is None or curves.best not in fitted:
        return
    reached, validated = fitted[curves.best], val[curves.best]
    if reached - validated > OVERFITTING_GAP:
        now = f" (now {min(train.values())} in the smallest class)" if train else ""
        instead = "" if pretrained else ", and pretrained weights (--pretrained true)"
        yield (
            f"Training accuracy {percent(reached)}, validation {percent(validated)} (overfitting): "
            f"more training images would help most{now}{instead}."
        )
    elif reached < UNDERFITTING:
        instead = "" if pretrained else ", or from pretrained weights (--pretrained true)"
        yield (
            f"Training accuracy is only {percent(reached)} (underfitting): train longer "
            f"(--epochs){instead}."
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


def calibration_warnings(predictions: SplitPredictions) -> Iterator[str]:
    """A warning about probabilities that differ from the accuracy."""
    if predictions.scores()["calibration_error"] <= UNCALIBRATED:
        return
    stated = float(predictions.confidence.mean())
    right = float(predictions.correct.float().mean())
    kind = "Overconfident" if stated > right else "Underconfident"
    yield (
        f"{kind}: on average it states {percent(stated)} and is right {percent(right)} of the "
        "time. Use the percentages to rank images, not as probabilities."
    )


def few_images_warnings(predictions: SplitPredictions) -> Iterator[str]:
    """Warnings about too few images in the split or in a class, and about unreadable images."""
    count, stage = len(predictions.targets), predictions.stage
    classes = [score for score in predictions.by_class() if score.images]
    small = [score for score in classes if score.images < MIN_PER_CLASS]
    if small and len(small) == len(classes):
        fewest = min(score.images for score in small)
        point = percent(1 / fewest)
        yield (
            f"Only {fewest} {stage} image{'s' * (fewest != 1)} in the smallest class: one image "
            f"moves such a class by {point}. Compare classes only roughly."
        )
    elif small:
        names = few_of([score.name for score in small], MAX_NAMES)
        yield (
            f"Fewer than {MIN_PER_CLASS} {stage} images of {names}: too few to judge these "
            "classes one by one."
        )
    if count < MIN_IMAGES:
        yield (
            f"Only {count} {stage} images: the accuracy on new images of this kind may be at "
            "either end of the interval above. More test images narrow it."
        )
    if predictions.unreadable:
        yield (
            f"{predictions.unreadable} {stage} images could not be read and are left out: "
            "`vision-attn check` lists them."
        )
