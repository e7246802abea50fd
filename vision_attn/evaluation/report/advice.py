"""What is worth telling of a run: one line each, with what to do."""

import math
from collections import Counter
from collections.abc import Iterator

from vision_attn.evaluation.report.curves import Curves
from vision_attn.evaluation.report.predictions import ClassScore, SplitPredictions

UNEVEN = 10  # times as many images in the largest class as in the smallest
FEW = 10  # images of a class, below which its scores are chance
FEW_IN_ALL = 200
GAP = 0.15  # of accuracies, training less validation
LEARNT = 0.7  # accuracy on training images
UNCALIBRATED = 0.1
NAMED = 5  # classes in a sentence


def wilson(right: int, images: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927).

    >>> [round(edge, 3) for edge in wilson(8, 10)]
    [0.49, 0.943]
    """
    share = right / images
    middle = (share + z * z / (2 * images)) / (1 + z * z / images)
    spread = math.sqrt(share * (1 - share) / images + z * z / (4 * images**2))
    half = z * spread / (1 + z * z / images)
    return middle - half, middle + half


def advice(predictions: SplitPredictions, curves: Curves, train: Counter[str]) -> list[str]:
    """Warnings and what to do about them; none for a run in which all is well.

    Args:
        outcome: what the model said.
        curves: how the training went.
        train: how many training images each class has.
    """
    return [
        *of_classes(predictions.by_class(), predictions.stage),
        *of_training(curves),
        *of_balance(train),
        *of_images(predictions),
    ]


def of_classes(classes: list[ClassScore], stage: str) -> Iterator[str]:
    """Classes that the model never tells, and classes about which nothing is known."""
    never = [score.name for score in classes if score.images and not score.told]
    if never:
        yield (
            f"Never predicted: {several(never)}. Look at the images of such a class; it may need "
            "more of them, or be one with another class."
        )
    absent = [score.name for score in classes if not score.images]
    if absent:
        yield f"No {stage} images of {several(absent)}: nothing is known of how well it does there."


def of_training(curves: Curves) -> Iterator[str]:
    """Training images learnt by heart, or not learnt."""
    train, val = (curves.values.get(f"{name}/accuracy", {}) for name in ("train", "val"))
    if curves.best is None or curves.best not in train:
        return
    learnt, known = train[curves.best], val[curves.best]
    if learnt - known > GAP:
        yield (
            f"Overfitted: {learnt:.0%} of the training images are right and {known:.0%} of the "
            "validation images. More images, stronger augmentation or pretrained weights help most."
        )
    elif learnt < LEARNT:
        yield (
            f"Not learnt yet: {learnt:.0%} of the training images are right. Train longer "
            "(--trainer.max_epochs), or from pretrained weights."
        )


def of_balance(train: Counter[str]) -> Iterator[str]:
    """Classes of very different sizes."""
    if not train:
        return
    (most, many), (least, few) = train.most_common(1)[0], train.most_common()[-1]
    if few and many / few >= UNEVEN:
        yield (
            f"Uneven classes: {many} training images of {most} and {few} of {least}. Accuracy "
            "mostly tells of the large classes: read balanced accuracy and macro F1."
        )


def of_images(predictions: SplitPredictions) -> Iterator[str]:
    """Too few images to tell, images that could not be read, chances that are not to be trusted."""
    count, right = len(predictions.targets), int(predictions.correct.sum())
    classes = [score.name for score in predictions.by_class() if 0 < score.images < FEW]
    if count < FEW_IN_ALL:
        low, high = wilson(right, count)
        yield (
            f"Only {count} {predictions.stage} images: the true accuracy lies between {low:.0%} and "
            f"{high:.0%} (95 % interval)."
        )
    if classes:
        yield f"Fewer than {FEW} {predictions.stage} images of {several(classes)}: chance rules there."
    if predictions.unreadable:
        yield f"{predictions.unreadable} {predictions.stage} images could not be read and are left out."
    sure = float(predictions.confidence.mean())
    error = predictions.scores()["calibration_error"]
    if error > UNCALIBRATED:
        lean = "too sure of itself" if sure > right / count else "less sure than it could be"
        yield f"The model is {lean}: take its probabilities as an order, not as chances."


def several(names: list[str]) -> str:
    """A few names, and how many more there are.

    >>> several(["ant", "bee"]), several([f"c{k}" for k in range(7)])
    ('ant, bee', 'c0, c1, c2, c3, c4 and 2 more')
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
