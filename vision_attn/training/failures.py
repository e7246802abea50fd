"""Turn out-of-memory, disk-full and checkpoint errors of a training into one-line messages."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from vision_attn.core.atomic import WriteError, is_write_error, write_error
from vision_attn.core.errors import UserError, one_line
from vision_attn.runs.folder import RunFolder

NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""Parts of out-of-memory messages: of torch's CPU allocator, of CUDA and of its libraries."""
NO_METRIC = "which is not available"
"""Part of Lightning's message for a callback that monitors an unknown score."""
LOGGERS = {"loggers", "tensorboard"}  # source folders of the libraries that write logs


@dataclass(frozen=True)
class BatchSettings:
    """The batch size of a training.

    Attributes:
        size: images per batch.
        per_step: batches per optimizer step.
        may_be_halved: whether the size was chosen automatically, in a single process.
    """

    size: int
    per_step: int = 1
    may_be_halved: bool = False

    @property
    def halves(self) -> dict[str, Any]:
        """The settings for half the batch size and twice as many batches per step.

        >>> BatchSettings(25, 2).halves
        {'data': {'batch_size': 12}, 'trainer': {'accumulate_grad_batches': 4}}
        """
        return {
            "data": {"batch_size": self.size // 2},
            "trainer": {"accumulate_grad_batches": 2 * self.per_step},
        }

    def message(self, resumes: bool) -> str:
        """The log line on continuing with half the batch size.

        >>> BatchSettings(64).message(resumes=False)
        'memory    too small for batches of 64 images: starting again with 2 batches of 32 per step'
        """
        start = "resuming from the last checkpoint" if resumes else "starting again"
        return (
            f"memory    too small for batches of {self.size} images: {start} with "
            f"{2 * self.per_step} batches of {self.size // 2} per step"
        )


class OutOfMemoryError(UserError):
    """Out of memory: a batch did not fit; the message says what to set.

    >>> print(OutOfMemoryError(BatchSettings(128)))
    batches of 128 images do not fit into memory; set --data.batch_size 64
    --trainer.accumulate_grad_batches 2 (the same number of images per step).
    >>> print(OutOfMemoryError(BatchSettings(1)))
    batches of 1 images do not fit into memory; set a smaller --data.image_size.
    """

    def __init__(self, batches: BatchSettings) -> None:
        self.batches = batches
        advice = (
            f"set --data.batch_size {batches.size // 2}\n"
            f"--trainer.accumulate_grad_batches {2 * batches.per_step} "
            "(the same number of images per step)"
        )
        if batches.size == 1:
            advice = "set a smaller --data.image_size"
        super().__init__(f"batches of {batches.size} images do not fit into memory; {advice}.")


@contextmanager
def explain_failures(folder: RunFolder, batches: BatchSettings) -> Iterator[None]:
    """Turn disk-full and out-of-memory errors into errors that say what to do.

    Args:
        folder: the run folder, named if an error does not name its file.
        batches: the batch size.

    Raises:
        OutOfMemoryError: a batch did not fit.
        WriteError: a file could not be written.
        UserError: Lightning refuses a setting of a callback when the training starts.
    """
    with silence_disk_full_threads():
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # a logger hides a full disk behind a ValueError
            if any(is_out_of_memory(cause) for cause in causes(error)):
                raise OutOfMemoryError(batches) from error
            for cause in causes(error):
                if isinstance(cause, WriteError):  # closing the loggers failed, too
                    raise cause from None
                if is_write_error(cause):
                    raise write_error(file_of(cause, folder), cause) from error
            if isinstance(error, MisconfigurationException) or NO_METRIC in str(error):
                raise UserError(one_line(error, most=300)) from error
            raise


@contextmanager
def explain_checkpoint_mismatch(
    checkpoint: Path | None, started: Callable[[], bool]
) -> Iterator[None]:
    """Turn an error while a checkpoint is loaded into a one-line error.

    Args:
        checkpoint: what the training resumes from, if it does.
        started: returns whether the checkpoint is loaded and training has started.

    Raises:
        UserError: the checkpoint belongs to another model or another optimizer.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # an untrusted checkpoint can raise any error
        other = any(is_out_of_memory(cause) or is_write_error(cause) for cause in causes(error))
        if checkpoint is None or started() or other:
            raise
        raise UserError(
            f"{checkpoint} does not fit the settings of its run ({one_line(error)})."
        ) from error


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and the chain of its causes.

    >>> try:
    ...     raise KeyError("k") from OSError("o")
    ... except KeyError as error:
    ...     [type(cause).__name__ for cause in causes(error)]
    ['KeyError', 'OSError']
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def release_memory() -> None:
    """Free the memory of a failed attempt, also on accelerators."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is an out-of-memory error, of the machine or of an accelerator."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    )


def file_of(error: BaseException, folder: RunFolder) -> object:
    """The file that a write error is about; if it names none, a log or the run folder."""
    if getattr(error, "filename", None):
        return error.filename  # type: ignore[attr-defined]
    trace = error.__traceback__
    while trace is not None:
        if LOGGERS & set(PurePath(trace.tb_frame.f_code.co_filename).parts):
            return f"a log in {folder.logs}"
        trace = trace.tb_next
    return f"a file in {folder.path}"


@contextmanager
def silence_disk_full_threads() -> Iterator[None]:
    """Silence disk-full tracebacks of writer threads; the main thread reports the error."""
    usual = threading.excepthook

    def hook(raised: threading.ExceptHookArgs) -> None:
        if raised.exc_value is None or not is_write_error(raised.exc_value):
            usual(raised)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual
