"""Classes with too few training images."""

from collections.abc import Iterator, Mapping

from vision_attn.data.checks.base import Check, Finding, Severity, few_of, number
from vision_attn.data.checks.survey import Survey

FEW = 10  # training images: below, even a fine-tuned network mostly learns them by heart


class FewImages(Check):
    """Classes that cannot be learnt or scored for want of images."""

    run_before_fit = True

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """One finding for all of them."""
        trained: Mapping[str, int] = survey.counts.get("train", {})
        items = [f"{name}: {count}" for name, count in sorted(trained.items()) if count < FEW]
        if items:
            classes = number(len(items), "class")
            yield Finding(
                Severity.WRONG,
                f"{classes} with fewer than {FEW} training images ({few_of(items)})",
                "Add images, or put rare classes together.",
                items,
            )
