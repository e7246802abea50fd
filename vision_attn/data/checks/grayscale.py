"""Sets without colour."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.survey import Survey


class Grayscale(Check):
    """A set of nothing but grey images; a few of them are no matter."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """One finding, if every image that was read is grey."""
        read = [found for found in survey.stats if not found.problem]
        if read and all(found.gray for found in read):
            yield Finding(
                Severity.NOTE,
                f"all of the {number(len(read), 'image')} are grey",
                "Nothing to do: backbones get three equal channels.",
            )
