"""Stratified train/val/test splits for data sets that lack them, and checks of their labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.terminal import say
from vision_attn.data.split import Split

DEFAULT_FRACTION = 0.1  # of each class, held out for validation or testing
MIN_HELD_OUT = 10  # images per class: fewer say little about the accuracy on that class
MAX_FRACTION = 0.2  # of a small class, which also needs images to train on


def held_out_count(images: int, fraction: float | None) -> int:
    """How many images of a class to hold out for validation or testing: from 1 to all but one.

    If `fraction` is None, it is a tenth; of a small class up to a fifth, in order to reach ten.

    >>> [held_out_count(images, None) for images in (952, 57, 32, 5, 2)]
    [95, 10, 6, 1, 1]
    >>> held_out_count(32, 0.1)
    3
    """
    if fraction is None:
        wanted = max(
            round(DEFAULT_FRACTION * images), min(MIN_HELD_OUT, int(MAX_FRACTION * images))
        )
    else:
        wanted = round(fraction * images)
    return min(max(wanted, 1), images - 1)


def stratified_split(
    labels: Sequence[str], fraction: float | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Seeded stratified split: indices of (the remaining images, the held-out images).

    `fraction` of every class is held out. A class with at least two images has at least one on
    each side. If `fraction` is None, `held_out_count` chooses it for each class.

    >>> rest, held_out = stratified_split(["a", "b"] * 5, fraction=0.2, seed=0)
    >>> len(rest), len(held_out), sorted(int(i) % 2 for i in held_out)  # one "a" and one "b"
    (8, 2, [0, 1])
    """
    names = np.asarray(labels)
    generator = np.random.default_rng(seed)
    chosen: list[NDArray[np.int64]] = []
    for name in sorted(set(labels)):
        members = generator.permutation(np.flatnonzero(names == name))
        count = held_out_count(len(members), fraction)
        chosen.append(members[:count])
    held_out = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def with_known_labels(split: Split, name: str, class_names: list[str]) -> Split:
    """A split whose labels are all among the training classes.

    The same letters can be stored in several ways: macOS writes an accent as a character of its
    own. A label that equals a class after Unicode normalization (NFC) is taken as that class, and a
    line says so.

    Raises:
        UserError: a class is not among the training classes; it names the closest known one.
    """
    unknown = sorted(set(split.labels) - set(class_names))
    known = {normalize("NFC", label): label for label in class_names}
    spelled = {u: known[normalize("NFC", u)] for u in unknown if normalize("NFC", u) in known}
    if spelled:
        listed = ", ".join(spelled.values())
        say(f"check     {name}: {listed} is stored with other Unicode characters than in training")
        split = replace(split, labels=[spelled.get(label, label) for label in split.labels])
        unknown = [label for label in unknown if label not in spelled]
    if unknown:
        hint = did_you_mean(unknown[0], class_names)
        raise UserError(
            f"the {name} images have a class '{unknown[0]}' that is not a training class.{hint} "
            f"Known classes: {', '.join(class_names[:20])}."
        )
    return split


def check_divisible(train: Split) -> None:
    """Refuse to split a class that has a single image.

    Raises:
        UserError: naming the class.
    """
    single = [name for name, count in Counter(train.labels).items() if count < 2]
    if single:
        raise UserError(
            f"class '{single[0]}' has a single image, so none can be held out for validation; "
            "add images, or provide a val folder."
        )


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` evenly spaced indices from 0 to `count` - 1.

    >>> evenly_spaced(3, 5), evenly_spaced(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
