"""Check for data sets with a single class."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity
from vision_attn.data.checks.survey import Survey


class SingleClass(Check):
    """Training images that all belong to one class."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding if there is only one class."""
        names = list(survey.counts.get("train", ()))
        if len(names) == 1:
            yield Finding(
                Severity.WORST,
                f"only one class ({names[0]})",
                "A classifier needs at least two: add a folder of images that do not show it.",
                names,
            )
