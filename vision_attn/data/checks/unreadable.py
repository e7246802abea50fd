"""Files that training would leave out."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.survey import Survey


class Unreadable(Check):
    """Truncated, empty and damaged files, and files that are no images."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """One finding for all of them, each with what its reader said."""
        items = [
            f"{survey.name(index)}: {reading.problem}"
            for index, reading in enumerate(survey.stats)
            if reading.problem
        ]
        if items:
            yield Finding(
                Severity.WRONG,
                f"{number(len(items), 'file')} cannot be read",
                "Copy them anew or delete them: training leaves them out.",
                items,
            )
