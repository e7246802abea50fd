"""The promise of a check: a survey of a data set in, findings out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from vision_attn.data.checks.survey import Survey


class Severity(IntEnum):
    """How bad a finding is; the worst are told first."""

    NOTE = 0  # good to know
    WRONG = 1  # training suffers from it
    WORST = 2  # scores cannot be believed, or training cannot start


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes:
        severity: how bad it is.
        what: what was found, with its number, in one line.
        advice: what to do about it, in one line.
        items: the files or classes concerned, one a line.
    """

    severity: Severity
    what: str
    advice: str
    items: Sequence[str] = field(default_factory=list)


class Check(ABC):
    """Looks for one kind of trouble. A new check is one file with one subclass.

    Attributes:
        by_fit: whether `fit` runs it by itself; it then works on a survey of names and classes
            alone, without a look into the images and their folders.
    """

    run_before_fit: ClassVar[bool] = False

    @abstractmethod
    def findings(self, survey: Survey) -> Iterator[Finding]:
        """What there is to tell about a data set; nothing if all is well."""


def number(count: int, noun: str) -> str:
    """A count with its noun.

    >>> number(1, "image"), number(1200, "image"), number(2, "class")
    ('1 image', '1,200 images', '2 classes')
    """
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{count:,} {noun}{ending}"


def few_of(names: Sequence[str]) -> str:
    """The first few names.

    >>> few_of(["a", "b"]), few_of(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
