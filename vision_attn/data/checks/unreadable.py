"""Check for unreadable files, which training leaves out."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey


class Unreadable(Check):
    """Truncated, empty and damaged files, and files that are not images."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding that lists all such files, each with the error of its reader."""
        items = [
            f"{survey.name(index)}: {stats.problem}"
            for index, stats in enumerate(survey.stats)
            if stats.problem
        ]
        if items:
            yield Finding(
                Severity.WRONG,
                f"{count_noun(len(items), 'file')} cannot be read",
                "Copy them again or delete them: training leaves them out.",
                items,
            )
