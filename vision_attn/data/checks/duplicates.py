"""Check for exact duplicates: files with identical bytes."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey

# By what differs between the copies: the class, the split, or neither.
KINDS = {
    "class": (
        Severity.WORST,
        "in more than one class",
        "One of the labels is wrong: delete the copies in the wrong class.",
    ),
    "split": (
        Severity.WORST,
        "in more than one split",
        "This leakage makes the scores too high: delete the copies in train.",
    ),
    "": (
        Severity.NOTE,
        "more than once within a class",
        "Each copy counts: delete all but one.",
    ),
}


class Duplicates(Check):
    """Exact duplicates across classes, across splits, and within a class of one split."""

    run_before_fit = True

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding per kind of duplicate."""
        for kind, (severity, where, advice) in KINDS.items():
            groups = [group for group in survey.copies if survey.what_differs(group) == kind]
            if groups:
                items = [" = ".join(survey.name(index) for index in group) for group in groups]
                verb = "is" if len(groups) == 1 else "are"
                what = f"{count_noun(len(groups), 'image')} {verb} {where}, as identical files"
                yield Finding(severity, what, advice, items)
