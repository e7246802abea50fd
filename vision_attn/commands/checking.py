"""What `fit` does about its images before it trains: a quick check, and a record of the splits."""

from collections.abc import Iterator
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


def record_splits(folder: Any, data: Any, resumed: bool) -> None:
    """Write `split.csv` where images are files; a resumed run keeps its own, and is held to it."""
    from vision_attn.data.image_table import as_table
    from vision_attn.whole import write_whole

    if not all(split.are_files for split in data.splits.values()):
        return
    table, root = as_table(data.splits, data.source.root), data.source.root
    if resumed and folder.split.is_file():
        before = folder.split.read_text(encoding="utf-8")
        changed = set(before.splitlines()) ^ set(table.splitlines())
        if changed:
            print(
                f"check     the images changed since the run began ({len(changed)} lines of "
                f"{folder.split}): what it scores may have been trained on."
            )
        return
    write_whole(folder.split, lambda place: place.write_text(table, encoding="utf-8"))
    print(f"splits    {folder.split} (again: --data {folder.split} --data.source.root {root})")


def record_environment(folder: Any, words: list[str], seed: Any, splits: Any) -> None:
    """Note where and from what a training starts or goes on; tell if its images have changed."""
    from vision_attn.environment import environment, starts

    before, now = starts(folder.environment), environment(words, seed, splits)
    if not folder.last.exists():  # what began here before has left nothing
        before = []
    if before and before[-1]["data"] != now["data"]:
        print(
            f"check     the images are not those that the run began with ({folder.environment} "
            "tells when): it ends with other weights than it would have."
        )
    folder.save_json(folder.environment, {"starts": [*before, now]})
