"""What can befall a training that is no fault of its code, told in a line or two."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from vision_attn.core.atomic import Unwritten, is_unwritable, unwritten
from vision_attn.core.errors import UserError

NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""How torch's allocator for CPUs, CUDA, and the libraries on top of it put it."""
LOGGERS = {"loggers", "tensorboard"}  # folders of the code that writes logs


@dataclass(frozen=True)
class Batches:
    """How a training takes its images.

    Attributes:
        size: images a batch.
        a_step: batches a step of the optimiser.
        may_be_halved: whether nobody named their size, and one process trains.
    """

    size: int
    a_step: int = 1
    may_be_halved: bool = False

    @property
    def halves(self) -> list[str]:
        """The words that set half the size, and twice as many a step.

        >>> " ".join(Batches(25, 2).halves)
        '--data.batch_size 12 --trainer.accumulate_grad_batches 4'
        """
        return [
            "--data.batch_size", f"{self.size // 2}",
            "--trainer.accumulate_grad_batches", f"{2 * self.a_step}",
        ]  # fmt: skip

    def told(self, begun: bool) -> str:
        """What is said of going on with halves, from a checkpoint or from the start.

        >>> Batches(64).told(begun=False)
        'memory    is short for batches of 64 images: again from the start, with 32 and 2 a step'
        """
        where = "on from the last checkpoint" if begun else "again from the start"
        return (
            f"memory    is short for batches of {self.size} images: {where}, "
            f"with {self.size // 2} and {2 * self.a_step} a step"
        )


class LackOfMemory(UserError):
    """A batch did not fit into memory; says what to set.

    >>> print(LackOfMemory(Batches(128)))
    batches of 128 images do not fit into memory; set --data.batch_size 64
    --trainer.accumulate_grad_batches 2 (as many images a step, in halves).
    >>> print(LackOfMemory(Batches(1)))
    batches of 1 images do not fit into memory; set a smaller --data.image_size.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        size, times = " ".join(batches.halves[:2]), " ".join(batches.halves[2:])
        advice = f"set {size}\n{times} (as many images a step, in halves)"
        if batches.size == 1:
            advice = "set a smaller --data.image_size"
        super().__init__(f"batches of {batches.size} images do not fit into memory; {advice}.")


@contextmanager
def mishaps_told(place: Path, batches: Batches) -> Iterator[None]:
    """Turn a full disk and a lack of memory into what to do about them.

    Args:
        place: the run folder, named where an error does not tell its file.
        batches: how images are taken.

    Raises:
        LackOfMemory: a batch did not fit.
        Unwritten: a file could not be written.
    """
    with threads_silent_of_full_disks():
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # a logger hides a full disk behind a ValueError
            if any(is_lack_of_memory(one) for one in causes(error)):
                raise LackOfMemory(batches) from error
            for one in causes(error):
                if isinstance(one, Unwritten):  # ending, the loggers failed as well
                    raise one from None
                if is_unwritable(one):
                    raise unwritten(file_of(one, place), one) from error
            raise


@contextmanager
def misfits_told(checkpoint: Path | None, begun: Callable[[], bool]) -> Iterator[None]:
    """Turn what goes wrong while a training is brought back from a checkpoint into a line.

    Args:
        checkpoint: what it goes on from, if it does.
        begun: whether it is back, and goes on.

    Raises:
        UserError: the checkpoint is of another model or another optimiser.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of a stranger's parts, anything
        other = any(is_lack_of_memory(one) or is_unwritable(one) for one in causes(error))
        if checkpoint is None or begun() or other:
            raise
        raise UserError(
            f"{checkpoint} does not fit the settings of its run ({shortly(error)})."
        ) from error


def shortly(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join((str(error) or type(error).__name__).split())[:200]


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came from, and so on.

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
    """Give back what an attempt that failed has left, on accelerators too."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error tells that memory, of the machine or of an accelerator, was short."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    )


def file_of(error: BaseException, run: Path) -> object:
    """The file that an error is about; where it does not say, its logs or its folder."""
    if getattr(error, "filename", None):
        return error.filename  # type: ignore[attr-defined]
    trace = error.__traceback__
    while trace is not None:
        if LOGGERS & set(PurePath(trace.tb_frame.f_code.co_filename).parts):
            return f"a log in {run / 'logs'}"
        trace = trace.tb_next
    return f"a file in {run}"


@contextmanager
def threads_silent_of_full_disks() -> Iterator[None]:
    """Let no thread print its traceback of a full disk: whoever wrote through it is told, too."""
    usual = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is None or not is_unwritable(told.exc_value):
            usual(told)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual
