"""A training that is refused before its first step leaves the run folder as it was."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vision_attn.core.atomic import atomic_write, replace_symlink
from vision_attn.core.errors import UserError
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.lock import JOINED_RUN
from vision_attn.training.callbacks.checkpoint_io import AtomicCheckpointIO


@contextmanager
def undone_if_refused(folder: RunFolder, has_started: Callable[[], bool]) -> Iterator[None]:
    """Restore the files of a run folder if a `UserError` ends the block before the first step.

    Some settings are only refused when the trainer starts, after the run was recorded. Files that
    the training did not write are never touched.

    Args:
        folder: the run folder; it may not exist yet.
        has_started: whether the first step was taken; from then on everything is kept.
    """
    if JOINED_RUN in os.environ:  # the first process of the training restores them
        yield
        return
    written = [folder.config, folder.split, folder.environment, folder.owner_file, folder.lock_file]
    before = {path: path.read_bytes() if path.is_file() else None for path in written}
    folders = [folder.logs, folder.checkpoints, folder.path, folder.path.parent]  # innermost first
    added = [path for path in folders if not path.exists()]
    latest = folder.path.parent / "latest"
    target = latest.readlink() if latest.is_symlink() else None
    try:
        yield
    except UserError:
        if not has_started():
            for path, content in before.items():
                restore_file(path, content)
            restore_link(latest, target, folder.path.name)
            remove_folders(folder, added)
        raise


def restore_file(path: Path, content: bytes | None) -> None:
    """Give a file its earlier content; None removes it. Links and folders are the user's."""
    if path.is_symlink() or path.is_dir():
        return
    if content is None:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != content:
        atomic_write(path, lambda new: new.write_bytes(content))


def remove_folders(folder: RunFolder, added: list[Path]) -> None:
    """Remove the folders that the training added: that of the logs whole, others if empty."""
    for path in added:
        if path == folder.logs:
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # it contains other files
            path.rmdir()


def restore_link(latest: Path, target: Path | None, run: str) -> None:
    """Point `runs/latest` to where it pointed before, if it points to the refused run."""
    if not latest.is_symlink() or str(latest.readlink()) != run or str(target) == run:
        return
    if target is None:
        latest.unlink()
    else:
        replace_symlink(latest, str(target))


def check_length(checkpoint: Path, max_epochs: int | None, max_steps: int) -> None:
    """Refuse to resume a run with fewer epochs or steps than it has trained already.

    Raises:
        UserError: it says how many those are.
    """
    content = AtomicCheckpointIO().load_checkpoint(checkpoint)
    done = {"max_epochs": content["epoch"] + 1, "max_steps": content["global_step"]}
    for name, asked in (("max_epochs", max_epochs), ("max_steps", max_steps)):
        if asked is not None and 0 <= asked < done[name]:
            unit = name.removeprefix("max_")
            raise UserError(
                f"--resume: the run has trained {done[name]} {unit} already, so it cannot end "
                f"after {asked}; give --trainer.{name} {done[name]} or more, or none."
            )
