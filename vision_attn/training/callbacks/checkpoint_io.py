"""Checkpoints that are whole or not there, and are read without running their code."""

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
"""What Lightning goes on from."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then moves it there.

    Lightning's own writes to the system's temporary folder first. Where that is another disk, as
    it often is, its move is a copy, and a process that is killed meanwhile leaves half a file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Write a checkpoint, whole or not at all.

        Raises:
            UserError: the disk is full.
        """
        content = io.BytesIO()  # so that a full disk is met as such, not within torch.save
        torch.save(checkpoint, content)
        atomic_write(Path(path), lambda place: place.write_bytes(content.getbuffer()))

    def load_checkpoint(self, path: str | Path, *args: object, **others: object) -> dict[str, Any]:
        """Read a checkpoint of a training; only tensors and plain values.

        Raises:
            UserError: the file is damaged, or holds anything else.
        """
        try:
            content = read_torch_file(path)
            if not isinstance(content, dict):
                raise ValueError(f"it holds a {type(content).__name__}")
            missing = [part for part in PARTS if part not in content]
            if missing:
                raise ValueError(f"it holds no {missing[0]}")
            for name, tensor in content["state_dict"].items():
                if not torch.isfinite(tensor).all():
                    raise ValueError(f"{name} holds NaN or infinite values")
            return upgrade_checkpoint(content)
        except Exception as error:  # UnpicklingError, and whatever torch raises on a damaged file
            reason = first_line(error)[:160]
            raise UserError(f"{path} is damaged or not a checkpoint ({reason}).") from error


def epoch_to_come(path: Path) -> int:
    """The number of the epoch that a training begins with when it goes on from a checkpoint.

    Raises:
        UserError: the file is damaged, or holds anything else.
    """
    content = AtomicCheckpointIO().load_checkpoint(path)
    try:
        return int(content["loops"]["fit_loop"]["epoch_progress"]["current"]["ready"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged or not a checkpoint (it counts no epochs).") from error
