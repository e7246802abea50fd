"""Texts of figures: class names, percentages, headings."""

import textwrap
from collections.abc import Mapping
from typing import NamedTuple

from vision_attn.core.percent import percent
from vision_attn.core.terminal import printable

LONGEST = 28  # characters of a class name


class Label(NamedTuple):
    """The true class of an image, and where it is known from."""

    name: str
    source: str


def shown_name(name: str, longest: int = LONGEST) -> str:
    """A name as it is shown: on one line, with spaces for underscores, shortened.

    >>> shown_name("maine_coon"), shown_name("abcdefghijklmnopqrstuvwxyz0123456789")
    ('maine coon', 'abcdefghijklmnopqrstuvwxyz0…')
    """
    name = printable(name).replace("_", " ").strip()
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def probability_text(share: float) -> str:
    r"""A probability in percent, with one decimal below 1 % and above 99.5 %.

    >>> shares = (0.469, 0.004, 0.9966, 0.99999, 0.00001, 1.0)
    >>> [probability_text(share).replace("\u00a0", " ") for share in shares]
    ['47 %', '0.4 %', '99.7 %', '> 99.9 %', '< 0.1 %', '100 %']
    """
    if 0 < share < 0.001:
        return "<\u00a00.1\u00a0%"
    if 0.999 < share < 1:
        return ">\u00a099.9\u00a0%"
    digits = 0 if share in (0, 1) or 0.01 <= share < 0.995 else 1
    return percent(share, digits)


def heading(probabilities: Mapping[str, float], label: Label | None) -> str:
    r"""The heading of an image: what is predicted, and what it is labeled if that is known.

    Args:
        probabilities: of each class, the most probable first.
        label: of the image.

    >>> likely = {"persian": 0.47, "ragdoll": 0.29}
    >>> for label in (None, Label("persian", ""), Label("ragdoll", ""), Label("lynx", "")):
    ...     heading(likely, label).replace("\u00a0", " ")
    'Predicted persian 47 %'
    'Predicted persian 47 %, labeled the same'
    'Predicted persian 47 %, labeled ragdoll 29 %'
    'Predicted persian 47 %, labeled lynx, which the model does not know'
    """
    name, probability = next(iter(probabilities.items()))
    predicted = f"Predicted {shown_name(name)}\u00a0{probability_text(probability)}"
    if label is None:
        return predicted
    if label.name == name:
        return f"{predicted}, labeled the same"
    if label.name not in probabilities:
        return f"{predicted}, labeled {shown_name(label.name)}, which the model does not know"
    found = probability_text(probabilities[label.name])
    return f"{predicted}, labeled {shown_name(label.name)}\u00a0{found}"


def sum_note(probabilities: Mapping[str, float]) -> str:
    """A line if the percentages do not add up to 100 %, as after binary cross entropy; else "".

    >>> sum_note({"cat": 0.7, "dog": 0.3}), sum_note({"cat": 0.7, "dog": 0.6}) != ""
    ('', True)
    """
    if abs(sum(probabilities.values()) - 1) < 0.005:
        return ""
    return "Percentages are given class by class and need not add up to 100\u00a0%."


def wrapped(text: str, inches: float, points: float) -> str:
    r"""Break text into lines that fit a width; a character is about 0.52 of its size wide.

    >>> wrapped("speaks for the class", inches=1.0, points=10)
    'speaks for\nthe class'
    """
    return textwrap.fill(text, max(8, int(inches * 72 / (0.52 * points))))
