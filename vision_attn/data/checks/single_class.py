"""Sets in which there is nothing to tell apart."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity
from vision_attn.data.checks.survey import Survey


class SingleClass(Check):
    """Training images of one class alone."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """One finding, if there is one class."""
        trained = list(survey.counts.get("train", ()))
        if len(trained) == 1:
            yield Finding(
                Severity.WORST,
                f"one class only ({trained[0]})",
                "A classifier needs two: add images of what is not one, in a folder of their own.",
                trained,
            )
