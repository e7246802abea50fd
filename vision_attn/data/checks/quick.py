"""The checks that `fit` runs on its images before it trains: those that take seconds."""

from collections.abc import Iterator

from vision_attn.core.registry import available
from vision_attn.data.checks.base import Check, Severity
from vision_attn.data.checks.scan import survey_of_splits
from vision_attn.data.datamodule import ImageDataModule

HASH_LIMIT = 256 * 2**20  # bytes read to find copies; larger sets are left to `check`


def quick_problems(data: ImageDataModule) -> Iterator[str]:
    """A line per problem of the splits that can be found without looking at the images."""
    splits = {name: split for name, split in data.splits.items() if split.are_files}
    if not splits:
        return
    root = data.source.root  # type: ignore[attr-defined]  # sources of files have one
    survey = survey_of_splits(root, splits, HASH_LIMIT)
    for check in available(Check).values():
        if check.run_before_fit:
            for found in check().findings(survey):
                if found.severity > Severity.NOTE:
                    yield f"{found.what}. {found.advice}"
