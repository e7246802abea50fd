"""Record the settings, splits and environment of a run before it trains."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vision_attn.core.atomic import atomic_write, replace_symlink, write_json, write_text
from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.recorded_splits import as_record
from vision_attn.data.sources.table_rows import RECORD_START
from vision_attn.data.split import Split
from vision_attn.models.pretrained.license import WeightsRecord, record_from
from vision_attn.runs.environment import environment, read_starts
from vision_attn.runs.folder import RunFolder
from vision_attn.training.auto_settings import config_text
from vision_attn.training.config import Config

BYTES = "surrogateescape"
"""How Python writes bytes of file names that are not UTF-8: as they are."""


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Attributes:
        count: how many there are.
        batch_size: images per step of each of them; 0 if that was not recorded.
    """

    count: int
    batch_size: int = 0


ONE_PROCESS = Processes(1)


def changed_processes(before: Processes, now: Processes) -> str:
    """A line on a training that resumes with another number of processes.

    >>> changed_processes(Processes(2, 8), Processes(3, 8))
    '3 processes now, 2 before: steps of 24 images instead of 16, so the weights will differ'
    >>> changed_processes(Processes(2, 6), Processes(3, 4))
    '3 processes now, 2 before: steps of 12 images as before, other random augmentation'
    """
    step, old = now.count * now.batch_size, before.count * before.batch_size
    change = f"steps of {step} images instead of {old}, so the weights will differ"
    if step == old:
        change = f"steps of {step} images as before, other random augmentation"
    return f"{now.count} processes now, {before.count} before: {change}"


def record_config(folder: RunFolder, resolved: Config, chosen: list[str]) -> None:
    """Write the settings of a run that is about to train, and point `runs/latest` at it."""
    write_text(folder.config, config_text(resolved, chosen))
    run = folder.path.resolve()
    link = run.parent / "latest"
    if run.parent.name == "runs" and (link.is_symlink() or not link.exists()):
        replace_symlink(link, run.name)


def record_splits(folder: RunFolder, data: ImageDataModule, resumed: bool) -> None:
    """Write `split.csv` if images are files; a resumed run keeps its file and warns of changes."""
    if not all(split.are_files for split in data.splits.values()):
        return
    root = data.source.root  # type: ignore[attr-defined]  # sources of files have one
    # File names are bytes: those that are not UTF-8 are written as they are.
    table = as_record(data.splits, root)
    if resumed and folder.split.is_file():
        before = folder.split.read_bytes()
        changed = set(before.split(b"\n")) ^ set(table.encode("utf-8", BYTES).split(b"\n"))
        if not before.startswith(RECORD_START):  # written by an older version
            changed = set()
        if changed:
            say(
                f"check     the images have changed since the run began ({len(changed)} lines of "
                f"{folder.split}): it may be scored on images that it was trained on."
            )
        return
    write_record(folder.split, table)
    say(f"splits    {folder.split} (again: --data {folder.split} --data.source.root {root})")


def write_record(path: Path, text: str) -> None:
    """Write the text of a `split.csv`; bytes of names that are not UTF-8 stay as they are."""
    atomic_write(path, lambda new: new.write_text(text, "utf-8", BYTES, newline=""))


def record_environment(
    folder: RunFolder,
    command: Sequence[str],
    seed: int | bool,
    splits: Mapping[str, Split],
    weights: WeightsRecord | None = None,
    processes: Processes = ONE_PROCESS,
) -> None:
    """Record the environment of each start or resume; lines say what has changed."""
    earlier, now = read_starts(folder.environment), environment(list(command), seed, splits)
    now["weights"] = asdict(weights) if weights else None
    now["processes"] = asdict(processes)
    if not folder.last.exists():  # an earlier start here left no checkpoint
        earlier = []
    if earlier and earlier[-1].get("data") != now["data"]:
        say(
            f"check     the images are not those that the run began with (see "
            f"{folder.environment}): its weights will differ from an uninterrupted run's."
        )
    before = Processes(**earlier[-1].get("processes", {"count": 1})) if earlier else processes
    if before.count != processes.count:
        say(f"check     {changed_processes(before, processes)}")
    write_json(folder.environment, {"starts": [*earlier, now]})


def record_end(folder: RunFolder) -> None:
    """Record when the newest start of a training ended."""
    starts = read_starts(folder.environment)
    if starts:
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        write_json(folder.environment, {"starts": [*starts[:-1], starts[-1] | {"finished": now}]})


def recorded_weights(folder: RunFolder) -> WeightsRecord | None:
    """The pretrained weights that a run started from, as its first start recorded them.

    Raises:
        UserError: the file is damaged.
    """
    starts = read_starts(folder.environment)
    try:
        return record_from(starts[0].get("weights")) if starts else None
    except ValueError as error:
        raise UserError(f"{folder.environment} is damaged ({error}); copy it again.") from None
