"""Classes of very unequal size."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity
from vision_attn.data.checks.survey import Survey
from vision_attn.data.class_balance import STRONG


class ClassImbalance(Check):
    """Training classes that differ in size so much that `fit` draws them equally often."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """One finding, with the largest and the smallest class."""
        trained = survey.counts.get("train")
        if not trained:
            return
        (large, most), *_, (small, least) = [*trained.most_common(), *trained.most_common()[-1:]]
        if most >= STRONG * least:
            yield Finding(
                Severity.NOTE,
                f"classes from {least:,} ({small}) to {most:,} images ({large}), "
                f"{most / least:.0f}:1",
                "fit draws them equally often (--data.balanced_sampling false: as they are); "
                "read the balanced accuracy.",
                [f"{name}: {count:,}" for name, count in trained.most_common()],
            )
