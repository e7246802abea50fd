"""Images with nothing in them."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.survey import Survey


class SingleColor(Check):
    """Images of a single colour."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """One finding for all of them."""
        items = [
            survey.name(index) for index, found in enumerate(survey.stats) if found.single_color
        ]
        if items:
            yield Finding(
                Severity.WRONG,
                f"{number(len(items), 'image')} of one colour",
                "Delete them, unless an empty image belongs to its class.",
                items,
            )
