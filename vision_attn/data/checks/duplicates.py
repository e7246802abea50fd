"""Files that are there twice, byte for byte."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.survey import Survey

TOLD = {
    "class": (
        Severity.WORST,
        "in more than one class",
        "One of the labels is wrong: delete the copies that are.",
    ),
    "split": (
        Severity.WORST,
        "in more than one split",
        "The scores are too good for it: delete the copies in train.",
    ),
    "": (Severity.NOTE, "twice within a class", "They count twice: delete all but one."),
}


class Duplicates(Check):
    """Exact copies: across classes, across splits, and within a class of a split."""

    run_before_fit = True

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """A finding for each kind."""
        for apart, (severity, where, advice) in TOLD.items():
            chosen = [group for group in survey.copies if survey.apart(group) == apart]
            if chosen:
                items = [" = ".join(survey.name(index) for index in group) for group in chosen]
                what = f"{number(len(chosen), 'image')} {'is' if len(chosen) == 1 else 'are'} "
                yield Finding(severity, f"{what}{where}, byte for byte", advice, items)
