"""What `fit` does about its images before it trains: a quick check, and a record of the splits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

HASH_LIMIT = 256 * 2**20  # bytes read to find copies; larger sets are for `check`


def trouble(data: Any) -> Iterator[str]:
    """A line for each thing wrong with the splits that can be told without a look at the images."""
    from vision_attn.catalog import catalog
    from vision_attn.checks.base import Check, Severity
    from vision_attn.checks.listing import survey_of_splits

    splits = {name: split for name, split in data.splits.items() if split.are_files}
    if not splits:
        return
    survey = survey_of_splits(data.source.root, splits, HASH_LIMIT)
    for check in catalog(Check).values():
        if check.by_fit:
            for found in check().findings(survey):
                if found.severity > Severity.NOTE:
                    yield f"{found.what}. {found.advice}"


def record_splits(folder: Any, data: Any) -> None:
    """Write `split.csv`; a resumed run keeps its own, and is told where the images have changed."""
    from vision_attn.data.image_table import write_table
    from vision_attn.run import write_whole

    if not all(split.are_files for split in data.splits.values()):
        return
    root = Path(data.source.root)
    if not folder.split.exists():
        write_whole(folder.split, lambda place: write_table(place, data.splits, root))
        print(f"splits    {folder.split} (again: --data {folder.split} --data.source.root {root})")
        return
    before = set(folder.split.read_text(encoding="utf-8").splitlines())
    temporary = folder.split.with_suffix(".new")
    write_table(temporary, data.splits, root)
    now = set(temporary.read_text(encoding="utf-8").splitlines())
    temporary.unlink()
    if before != now:
        print(
            f"check     the images changed since the run began ({len(before ^ now)} lines of "
            f"{folder.split} differ): images of train may have become val or test."
        )
