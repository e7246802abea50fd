"""Check for classes with too few training images."""

from collections.abc import Iterator, Mapping

from vision_attn.core.errors import few_of
from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey

FEW = 10  # training images: with fewer, even a fine-tuned network mostly memorizes them


class FewImages(Check):
    """Classes with too few training images to be learned."""

    run_before_fit = True

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding that lists all such classes."""
        train: Mapping[str, int] = survey.counts.get("train", {})
        items = [f"{name}: {count}" for name, count in sorted(train.items()) if count < FEW]
        if items:
            classes = count_noun(len(items), "class")
            yield Finding(
                Severity.WRONG,
                f"{classes} with fewer than {FEW} training images ({few_of(items)})",
                "Add images, or merge rare classes.",
                items,
            )
