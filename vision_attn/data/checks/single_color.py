"""Check for blank images: those of a single color."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey


class SingleColor(Check):
    """Images of a single color."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding that lists all such images."""
        items = [
            survey.name(index) for index, stats in enumerate(survey.stats) if stats.single_color
        ]
        if items:
            yield Finding(
                Severity.WRONG,
                f"{count_noun(len(items), 'image')} of a single color",
                "Delete them, unless blank images belong to the class.",
                items,
            )
