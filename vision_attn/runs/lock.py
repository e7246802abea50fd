"""Lock a run folder during training, so that only one `fit` writes to it."""

import datetime
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import AcquireReturnProxy, FileLock, Timeout

from vision_attn.core.atomic import make_folder, remove_temporary_files, write_text
from vision_attn.core.errors import UserError
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.links import check_links

JOINED_RUN = "VISION_ATTN_JOINED_RUN"
"""Environment variable: the run folder that further processes of a training join."""
WAIT = 7  # seconds; reader processes may outlive a training that was killed


@contextmanager
def train_lock(folder: RunFolder, resumed: bool) -> Iterator[None]:
    """Hold the lock of a run folder while training; further processes join the first one.

    Raises:
        UserError: another process is training there, or a new run would replace an existing one.
    """
    if JOINED_RUN in os.environ:
        yield
        return
    with hold_lock(folder):
        if not resumed:
            check_not_started(folder)  # another process may have trained there meanwhile
        os.environ[JOINED_RUN] = str(folder.path.resolve())
        try:
            yield
        finally:
            os.environ.pop(JOINED_RUN, None)


@contextmanager
def hold_lock(folder: RunFolder) -> Iterator[None]:
    """Lock a run folder against other `fit` commands; a killed process releases its lock.

    Until there is a checkpoint to resume from, the file `.fit` names the training process.

    Raises:
        UserError: another process is training there, or a link leads out of the folder.
    """
    check_links(folder.path, folder.lock_file, folder.checkpoints, folder.logs)
    make_folder(folder.path, "Choose another folder: --run_dir DIR.")
    owner = folder.owner_file
    with acquire(folder):
        started = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
        write_text(owner, f"process {os.getpid()} on {platform.node()} since {started}\n")
        for path in (folder.last, folder.weights):
            remove_temporary_files(path)
        yield
        if folder.last.exists() or folder.metrics.exists():
            owner.unlink(missing_ok=True)


def acquire(folder: RunFolder) -> AcquireReturnProxy:
    """Acquire the lock of a run folder, for use in `with`.

    Raises:
        UserError: another process has it, or its file cannot be locked.
    """
    try:
        return FileLock(folder.lock_file, timeout=WAIT).acquire()
    except Timeout:
        owner = folder.owner_file
        who = owner.read_text().strip() if owner.is_file() else "another process"
        raise UserError(
            f"{who} is training in {folder.path}; wait for it, or choose another --run_dir."
        ) from None
    except OSError as error:
        raise UserError(f"{folder.lock_file} cannot be locked: {error.strerror}.") from None


def check_not_started(folder: RunFolder) -> None:
    """Refuse to replace an existing run, unless it was stopped before its first checkpoint.

    Such a run cannot be resumed, and has no results to lose; weights are saved just before a
    checkpoint.

    Raises:
        UserError: the folder contains a finished or resumable run.
    """
    unfinished = folder.owner_file.exists()
    if folder.last.exists() or (folder.weights.exists() and not unfinished):
        raise UserError(
            f"{folder.path} already contains a run; add --resume to continue it, "
            "or choose another --run_dir."
        )
