"""What `fit` sees at a glance is wrong with its images, before it trains."""

from collections.abc import Iterator
from typing import Any

HASH_LIMIT = 256 * 2**20  # bytes read to find copies; larger sets are for `check`


def trouble(data: Any) -> Iterator[str]:
    """A line for each thing wrong with the splits that can be told without a look at the images."""
    from vision_attn.core.registry import catalog
    from vision_attn.data.checks.base import Check, Severity
    from vision_attn.data.checks.scan import survey_of_splits

    splits = {name: split for name, split in data.splits.items() if split.are_files}
    if not splits:
        return
    survey = survey_of_splits(data.source.root, splits, HASH_LIMIT)
    for check in catalog(Check).values():
        if check.by_fit:
            for found in check().findings(survey):
                if found.severity > Severity.NOTE:
                    yield f"{found.what}. {found.advice}"
