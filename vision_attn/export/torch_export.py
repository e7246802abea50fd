"""torch.export: one .pt2 file that PyTorch runs without this package."""

import io
import json
import warnings
from collections.abc import Collection
from pathlib import Path

import torch

from vision_attn.core.atomic import atomic_write
from vision_attn.export.base import Exporter, Run, Sizes, description
from vision_attn.export.program import program
from vision_attn.runs.loaded_model import LoadedModel

DESCRIPTION = "vision_attn.json"


class TorchExport(Exporter):
    """A .pt2 file; `torch.export.load(file).module()(images)` gives a dictionary of outputs.

    Args:
        fixed_size: take images of the model's own size only.
    """

    file_name = "model.pt2"
    title = f"torch.export, by torch {torch.__version__}"

    def __init__(self, fixed_size: bool = False) -> None:
        self.fixed_size = fixed_size

    def check_installed(self) -> None:
        """Nothing but torch is needed."""

    def write(self, trained: LoadedModel, place: Path) -> Sizes:
        """Write the file, its description in the extra file `vision_attn.json`."""
        found = program(trained.model, trained.spec.image_size, self.fixed_size)
        described = json.dumps(description(trained, found.sizes), indent=2, ensure_ascii=False)
        with warnings.catch_warnings():
            # Kernels in channels_last layout are no plain tensors to torch 2.14; what it then
            # writes is whole, which the comparison with the model shows.
            warnings.filterwarnings("ignore", "No complete tensor found in the group")
            content = io.BytesIO()  # onto a full disk torch would write until the process aborts
            torch.export.save(found.exported, content, extra_files={DESCRIPTION: described})
        atomic_write(place, lambda beside: beside.write_bytes(content.getbuffer()))
        return found.sizes

    def open(self, place: Path, trusted: Collection[str] = ()) -> Run:
        """The program, read back. Only for a file of one's own: torch may unpickle parts of it."""
        return torch.export.load(place).module()
