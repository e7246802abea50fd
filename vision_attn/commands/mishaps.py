"""What can befall a training that is no fault of its code, told in a line or two."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vision_attn.errors import UserError

CPU_MEMORY = "can't allocate memory"  # how torch's allocator for CPUs puts it


@contextmanager
def mishaps_told(place: Path, batch_size: int) -> Iterator[None]:
    """Turn a full disk and a lack of memory into what to do about them.

    Args:
        place: the run folder, named where an error does not tell its file.
        batch_size: images a step.

    Raises:
        UserError: one of these came.
    """
    import torch

    from vision_attn.run import is_disk_full

    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        short = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if short or CPU_MEMORY in str(error):
            raise UserError(out_of_memory(batch_size)) from error
        if is_disk_full(error):
            name = getattr(error, "filename", None) or place
            raise UserError(
                f"the disk is full: {name} was not written (free some space)."
            ) from error
        raise


def out_of_memory(batch_size: int) -> str:
    """What to set.

    >>> out_of_memory(128)
    'batches of 128 images do not fit into memory; set --data.batch_size 64.'
    """
    if batch_size > 1:
        return (
            f"batches of {batch_size} images do not fit into memory; "
            f"set --data.batch_size {batch_size // 2}."
        )
    return "one image at a time does not fit into memory; set a smaller --data.image_size."
