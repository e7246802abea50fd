"""One `fit` at a time in a run folder, and a sign of one that was stopped early."""

import datetime
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vision_attn.core.errors import UserError

LOCK, OWNER = ".fit.lock", ".fit"
JOINED_RUN = "VISION_ATTN_JOINED_RUN"
PATIENCE = 7  # seconds that reader processes may outlive a training that was killed


@contextmanager
def alone(folder: Any, resumed: bool) -> Iterator[None]:
    """Hold a run folder while training in it; the processes that join in come with the first."""
    if JOINED_RUN in os.environ:
        yield
        return
    with occupied(folder):
        if not resumed:
            refuse_begun(folder)  # what was there a moment ago may be a run by now
        os.environ[JOINED_RUN] = str(folder.path.resolve())
        try:
            yield
        finally:
            os.environ.pop(JOINED_RUN, None)


@contextmanager
def occupied(folder: Any) -> Iterator[None]:
    """Keep other `fit` commands out of a run folder; what a killed process held is free again.

    While there is nothing to go on from, `.fit` says who trains or trained.

    Raises:
        UserError: another process trains there.
    """
    from filelock import FileLock, Timeout

    from vision_attn.core.atomic import remove_unfinished

    folder.path.mkdir(parents=True, exist_ok=True)
    owner = folder.path / OWNER
    try:
        with FileLock(folder.path / LOCK, timeout=PATIENCE):
            started = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
            owner.write_text(f"process {os.getpid()} on {platform.node()} since {started}\n")
            for place in (folder.last, folder.checkpoints / "best.ckpt", folder.weights):
                remove_unfinished(place)
            yield
            if folder.last.exists() or folder.metrics.exists():
                owner.unlink(missing_ok=True)
    except Timeout:
        who = owner.read_text().strip() if owner.is_file() else "another process"
        raise UserError(
            f"{folder.path} is being trained in by {who}; wait for it, or choose another --run_dir."
        ) from None


def refuse_begun(folder: Any) -> None:
    """Refuse to begin where there is a run, unless it was stopped before its first checkpoint.

    Such a run has nothing to lose or to go on from; its weights come just before its checkpoint.

    Raises:
        UserError: there is something to go on from.
    """
    unfinished = (folder.path / OWNER).exists()
    if folder.last.exists() or (folder.weights.exists() and not unfinished):
        raise UserError(
            f"{folder.path} already holds a run; add --resume to go on with it, "
            "or choose another --run_dir."
        )
