"""Cutting splits that a data set lacks, and checking the labels of those it has."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.data.split import Split

USUAL_SHARE = 0.1  # of a class, kept for validation or testing
ENOUGH = 10  # images of a class: fewer tell little of how well it is known
LARGEST_SHARE = 0.2  # of a small class, which has to be learnt, too


def kept_back(images: int, fraction: float | None) -> int:
    """How many images of a class are kept for validation or testing, between 1 and all but one.

    Without a fraction it is a tenth, but of a small class up to a fifth, so as to have ten.

    >>> [kept_back(images, None) for images in (952, 57, 32, 5, 2)]
    [95, 10, 6, 1, 1]
    >>> kept_back(32, 0.1)
    3
    """
    if fraction is None:
        wanted = max(round(USUAL_SHARE * images), min(ENOUGH, int(LARGEST_SHARE * images)))
    else:
        wanted = round(fraction * images)
    return min(max(wanted, 1), images - 1)


def stratified_halves(
    labels: Sequence[str], fraction: float | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of (the rest, a seeded sample that holds `fraction` of every class).

    A class of two or more images gives at least one to each side. Without a fraction, `kept_back`
    suits it to each class.

    >>> rest, sample = stratified_halves(["a", "b"] * 5, fraction=0.2, seed=0)
    >>> len(rest), len(sample), sorted(int(i) % 2 for i in sample)  # one "a" and one "b"
    (8, 2, [0, 1])
    """
    names = np.asarray(labels)
    generator = np.random.default_rng(seed)
    sampled: list[NDArray[np.int64]] = []
    for name in sorted(set(labels)):
        members = generator.permutation(np.flatnonzero(names == name))
        count = kept_back(len(members), fraction)
        sampled.append(members[:count])
    sample = np.sort(np.concatenate(sampled))
    return np.setdiff1d(np.arange(len(labels)), sample), sample


def check_labels(split: Split, name: str, class_names: list[str]) -> None:
    """Refuse a class that the model has no logit for.

    Raises:
        UserError: naming the class, and the nearest known one.
    """
    unknown = sorted(set(split.labels) - set(class_names))
    if unknown:
        hint = did_you_mean(unknown[0], class_names)
        raise UserError(
            f"the {name} images have a class '{unknown[0]}' that the training classes lack.{hint} "
            f"Known are: {', '.join(class_names[:20])}."
        )


def check_divisible(train: Split) -> None:
    """Refuse to cut a split from a class of a single image.

    Raises:
        UserError: naming the class.
    """
    single = [name for name, count in Counter(train.labels).items() if count < 2]
    if single:
        raise UserError(
            f"class '{single[0]}' has a single image, so none can be kept for validation; "
            "add images, or give a val folder."
        )


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` indices below `count`, evenly spaced over all of them.

    >>> evenly_spaced(3, 5), evenly_spaced(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
