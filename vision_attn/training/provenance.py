"""What `fit` writes down before it trains: settings, splits, and what it runs on."""

import os
from pathlib import Path
from typing import Any


def record(folder: Any, resolved: dict[str, Any], chosen: list[str]) -> None:
    """Write the settings of a run that is about to train, and make it the latest."""
    from vision_attn.core.atomic import write_whole
    from vision_attn.training.auto_settings import with_choices

    text = with_choices(resolved, chosen)
    write_whole(folder.config, lambda place: place.write_text(text, encoding="utf-8"))
    point_latest_at(folder.path.resolve())


def point_latest_at(run: Path) -> None:
    """Let `runs/latest` be this run, where the folder above it is ours to write a link into."""
    link = run.parent / "latest"
    if run.parent.name != "runs" or (link.exists() and not link.is_symlink()):
        return
    temporary = run.parent / f".latest-{os.getpid()}"
    temporary.symlink_to(run.name)
    temporary.replace(link)


def record_splits(folder: Any, data: Any, resumed: bool) -> None:
    """Write `split.csv` where images are files; a resumed run keeps its own, and is held to it."""
    from vision_attn.core.atomic import write_whole
    from vision_attn.data.sources.image_table import as_table

    if not all(split.are_files for split in data.splits.values()):
        return
    table, root = as_table(data.splits, data.source.root), data.source.root
    # Names of files are bytes; those that are no UTF-8 have a name of their own here.
    table = table.encode("utf-8", "backslashreplace").decode()
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
    from vision_attn.runs.environment import environment, starts

    before, now = starts(folder.environment), environment(words, seed, splits)
    if not folder.last.exists():  # what began here before has left nothing
        before = []
    if before and before[-1]["data"] != now["data"]:
        print(
            f"check     the images are not those that the run began with ({folder.environment} "
            "tells when): it ends with other weights than it would have."
        )
    folder.save_json(folder.environment, {"starts": [*before, now]})
