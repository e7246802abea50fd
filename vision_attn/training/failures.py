"""Turn out-of-memory, disk-full and checkpoint errors of a training into one-line messages."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch

from vision_attn.core.atomic import WriteError, is_write_error, write_error
from vision_attn.core.errors import UserError, one_line
from vision_attn.runs.folder import RunFolder

NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""In the messages of torch's allocator for CPUs, of CUDA and of the libraries on top of it."""
LOGGERS = {"loggers", "tensorboard"}  # folders of the code that writes logs


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
        """The line on going on with half the batch size.

        >>> BatchSettings(64).message(resumes=False)
        'memory    too small for batches of 64 images: starting again with 2 batches of 32 per step'
        """
        start = "going on from the last checkpoint" if resumes else "starting again"
        return (
            f"memory    too small for batches of {self.size} images: {start} with "
            f"{2 * self.per_step} batches of {self.size // 2} per step"
        )


class OutOfMemoryError(UserError):
    """A batch did not fit into memory; says what to set.

    >>> print(OutOfMemoryError(BatchSettings(128)))
    batches of 128 images do not fit into memory; set --data.batch_size 64
    --trainer.accumulate_grad_batches 2 (as many images per step, in halves).
    >>> print(OutOfMemoryError(BatchSettings(1)))
    batches of 1 images do not fit into memory; set a smaller --data.image_size.
    """

    def __init__(self, batches: BatchSettings) -> None:
        self.batches = batches
        advice = (
            f"set --data.batch_size {batches.size // 2}\n"
            f"--trainer.accumulate_grad_batches {2 * batches.per_step} "
            "(as many images per step, in halves)"
        )
        if batches.size == 1:
            advice = "set a smaller --data.image_size"
        super().__init__(f"batches of {batches.size} images do not fit into memory; {advice}.")


@contextmanager
def explain_failures(folder: RunFolder, batches: BatchSettings) -> Iterator[None]:
    """Turn a full disk and a lack of memory into an error that says what to do.

    Args:
        folder: the run folder, named if an error does not name its file.
        batches: the batch size.

    Raises:
        OutOfMemoryError: a batch did not fit.
        WriteError: a file could not be written.
    """
    with silence_disk_full_threads():
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # a logger hides a full disk behind a ValueError
            if any(is_out_of_memory(one) for one in causes(error)):
                raise OutOfMemoryError(batches) from error
            for one in causes(error):
                if isinstance(one, WriteError):  # the loggers failed as well, when they closed
                    raise one from None
                if is_write_error(one):
                    raise write_error(file_of(one, folder), one) from error
            raise


@contextmanager
def explain_checkpoint_mismatch(
    checkpoint: Path | None, started: Callable[[], bool]
) -> Iterator[None]:
    """Turn an error while a checkpoint is loaded into one line.

    Args:
        checkpoint: what the training resumes from, if it does.
        started: whether the checkpoint is loaded and the training goes on.

    Raises:
        UserError: the checkpoint belongs to another model or another optimizer.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # parts of an untrusted checkpoint can raise anything
        other = any(is_out_of_memory(one) or is_write_error(one) for one in causes(error))
        if checkpoint is None or started() or other:
            raise
        raise UserError(
            f"{checkpoint} does not fit the settings of its run ({one_line(error)})."
        ) from error


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on.

    >>> try:
    ...     raise KeyError("k") from OSError("o")
    ... except KeyError as error:
    ...     [type(one).__name__ for one in causes(error)]
    ['KeyError', 'OSError']
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def release_memory() -> None:
    """Free the memory of a failed attempt, on accelerators too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the machine or of an accelerator is full."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    )


def file_of(error: BaseException, folder: RunFolder) -> object:
    """The file that an error is about; if it does not say, the logs or the run folder."""
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
