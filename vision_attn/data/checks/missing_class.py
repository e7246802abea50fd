"""Check for classes that are missing from a split."""

from collections.abc import Iterable, Iterator, Mapping
from unicodedata import normalize

from vision_attn.core.errors import few_of
from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey


class MissingClass(Check):
    """Differences between the classes of a split and the training classes."""

    run_before_fit = True

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield a finding per split with classes that train lacks, and per split without some."""
        train: Mapping[str, int] = survey.counts.get("train", {})
        for split, counts in survey.counts.items():
            unknown, missing = lacking(train, counts), lacking(counts, train)
            if unknown:
                yield Finding(
                    Severity.WORST,
                    f"{split} has classes that train lacks ({few_of(unknown)})",
                    "Give them training images, correct their names, or remove them.",
                    unknown,
                )
            if missing:
                classes = count_noun(len(missing), "class")
                yield Finding(
                    Severity.WRONG,
                    f"{split} has no images of {classes} ({few_of(missing)})",
                    "Its scores do not cover them: add images.",
                    missing,
                )


def lacking(known: Iterable[str], others: Iterable[str]) -> list[str]:
    """The names among `others` that are not known; accents may be stored in two ways (NFC, NFD).

    >>> lacking(["caf\u00e9"], ["cafe\u0301", "tea"])
    ['tea']
    """
    spelled = {normalize("NFC", name) for name in known}
    return sorted(name for name in others if normalize("NFC", name) not in spelled)
