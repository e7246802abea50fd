"""Classes that are not in every split."""

from collections.abc import Iterator, Mapping

from vision_attn.data.checks.base import Check, Finding, Severity, few_of, number
from vision_attn.data.checks.survey import Survey


class MissingClass(Check):
    """Classes that a split lacks, against the training classes."""

    run_before_fit = True

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """A finding for each split that lacks classes, and for each with classes of its own."""
        trained: Mapping[str, int] = survey.counts.get("train", {})
        for split, counts in survey.counts.items():
            unknown, lacking = (
                sorted(set(counts) - set(trained)),
                sorted(set(trained) - set(counts)),
            )
            if unknown:
                yield Finding(
                    Severity.WORST,
                    f"{split} has classes that train lacks ({few_of(unknown)})",
                    "Give them training images, correct their names, or remove them.",
                    unknown,
                )
            if lacking:
                yield Finding(
                    Severity.WRONG,
                    f"{split} has no image of {number(len(lacking), 'class')} ({few_of(lacking)})",
                    "Its scores will say nothing of them: add images.",
                    lacking,
                )
