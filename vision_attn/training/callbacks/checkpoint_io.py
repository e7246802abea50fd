"""Atomic writes and safe reads of Lightning checkpoints."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from vision_attn.core.atomic import atomic_write
from vision_attn.core.errors import UserError, first_line
from vision_attn.core.torch_files import read_torch_file
from vision_attn.runs.old_formats import upgrade_checkpoint

PARTS = (
    "state_dict", "loops", "epoch", "global_step", "optimizer_states", "lr_schedulers",
    "callbacks", "pytorch-lightning_version",
)  # fmt: skip
"""The keys of a checkpoint that Lightning needs to resume a training."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder, then renames it.

    Lightning writes to the system's temporary folder first. That is often on another disk, so the
    move is a copy, and a process that is killed during it leaves a partial file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Write a checkpoint atomically.

        Raises:
            UserError: the disk is full, or the folder is not writable.
        """
        content = io.BytesIO()  # torch.save would hide a full disk behind an error of its own
        torch.save(checkpoint, content)
        atomic_write(Path(path), lambda new: new.write_bytes(content.getbuffer()))

    def load_checkpoint(self, path: str | Path, *args: object, **others: object) -> dict[str, Any]:
        """Safely read a checkpoint: tensors and plain values only.

        Raises:
            UserError: the file is damaged, or contains other objects, NaN or infinite weights.
        """
        try:
            content = read_torch_file(path)
            if not isinstance(content, dict):
                raise ValueError(f"it contains a {type(content).__name__}")
            missing = [part for part in PARTS if part not in content]
            if missing:
                raise ValueError(f"it has no '{missing[0]}'")
            for name, tensor in content["state_dict"].items():
                if not torch.isfinite(tensor).all():
                    raise ValueError(f"{name} contains NaN or infinite values")
            return upgrade_checkpoint(content)
        except Exception as error:  # torch raises errors of many kinds for damaged files
            reason = first_line(error)[:160]
            raise UserError(f"{path} is damaged or not a checkpoint ({reason}).") from error


def next_epoch(path: Path) -> int:
    """The number of the first epoch of a training that resumes from a checkpoint.

    Raises:
        UserError: the file is damaged, or contains other objects.
    """
    content = AtomicCheckpointIO().load_checkpoint(path)
    try:
        return int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["ready"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged or not a checkpoint (it has no epoch counter)."
        ) from error
