"""Run the quick checks before training: those that take seconds."""

from collections.abc import Iterator

from vision_attn.core.registry import available
from vision_attn.data.checks.base import Check, Severity
from vision_attn.data.checks.scan import survey_of_splits
from vision_attn.data.datamodule import ImageDataModule

HASH_LIMIT = 256 * 2**20  # bytes read to find duplicates; larger sets need `vision-attn check`


def quick_problems(data: ImageDataModule) -> Iterator[str]:
    """Yield one line per problem of the splits that can be found without decoding images."""
    splits = {name: split for name, split in data.splits.items() if split.are_files}
    if not splits:
        return
    root = data.source.root  # type: ignore[attr-defined]  # sources of image files have a root
    survey = survey_of_splits(root, splits, HASH_LIMIT)
    for check in available(Check).values():
        if check.run_before_fit:
            for finding in check().findings(survey):
                if finding.severity > Severity.NOTE:
                    yield f"{finding.what}. {finding.advice}"
