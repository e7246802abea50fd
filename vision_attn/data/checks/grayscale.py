"""Check for data sets that are grayscale only."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey


class Grayscale(Check):
    """A data set in which every image is grayscale; a few grayscale images are not reported."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding if every image that could be read is grayscale."""
        read = [stats for stats in survey.stats if not stats.problem]
        if read and all(stats.gray for stats in read):
            yield Finding(
                Severity.NOTE,
                f"all of the {count_noun(len(read), 'image')} are grayscale",
                "Nothing to do: the backbone gets three equal channels.",
            )
