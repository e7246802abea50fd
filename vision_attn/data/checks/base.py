"""The interface of a data check: it takes a survey of a data set and yields findings."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from vision_attn.data.checks.survey import Survey


class Severity(IntEnum):
    """How severe a finding is; the most severe are reported first."""

    NOTE = 0  # good to know
    WRONG = 1  # harms training
    WORST = 2  # makes scores meaningless, or prevents training


@dataclass(frozen=True)
class Finding:
    """One problem or note about a data set.

    Attributes:
        severity: how severe it is.
        what: what was found, with a count, in one line.
        advice: what to do about it, in one line.
        items: the files or classes affected, one per line.
    """

    severity: Severity
    what: str
    advice: str
    items: Sequence[str] = field(default_factory=list)


class Check(ABC):
    """A check for one kind of problem in a data set. A new check is one file with one subclass.

    Attributes:
        run_before_fit: whether `fit` runs this check before training. Such a check may use the
            file names and classes of the survey only: the images and folders are not scanned then.
    """

    run_before_fit: ClassVar[bool] = False

    @abstractmethod
    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield the findings about a data set; none if there is no problem."""


def count_noun(count: int, noun: str) -> str:
    """A count with its noun, in the singular or the plural.

    >>> count_noun(1, "image"), count_noun(1200, "image"), count_noun(2, "class")
    ('1 image', '1,200 images', '2 classes')
    """
    suffix = "" if count == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{count:,} {noun}{suffix}"
