"""Check for class imbalance: training classes of very different sizes."""

from collections.abc import Iterator

from vision_attn.data.checks.base import Check, Finding, Severity
from vision_attn.data.checks.survey import Survey
from vision_attn.data.class_balance import STRONG


class ClassImbalance(Check):
    """Class imbalance so strong that `fit` samples the training classes equally often."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding, with the sizes of the largest and the smallest class."""
        train = survey.counts.get("train")
        if not train:
            return
        (largest, most), *_, (smallest, least) = [*train.most_common(), *train.most_common()[-1:]]
        if most >= STRONG * least:
            yield Finding(
                Severity.NOTE,
                f"class sizes range from {least:,} ({smallest}) to {most:,} images ({largest}), "
                f"{most / least:.0f}:1",
                "fit samples the classes equally often (--data.balanced_sampling false turns this "
                "off); read the balanced accuracy.",
                [f"{name}: {count:,}" for name, count in train.most_common()],
            )
