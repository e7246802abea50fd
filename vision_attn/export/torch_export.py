"""torch.export: one .pt2 file that PyTorch runs without this package installed."""

import io
import json
import warnings
from collections.abc import Collection
from pathlib import Path

import torch

from vision_attn.core.atomic import atomic_write
from vision_attn.export.base import Exporter, InputSizes, RunModel, description
from vision_attn.export.program import program
from vision_attn.runs.loaded_model import LoadedModel

DESCRIPTION = "vision_attn.json"


class TorchExport(Exporter):
    """A .pt2 file; `torch.export.load(file).module()(images)` returns a dictionary of outputs.

    Args:
        fixed_size: accept only images of the model's own size.
    """

    file_name = "model.pt2"
    title = f"torch.export, by torch {torch.__version__}"

    def __init__(self, fixed_size: bool = False) -> None:
        self.fixed_size = fixed_size

    def check_installed(self) -> None:
        """Nothing to check: only torch is needed."""

    def write(self, trained: LoadedModel, path: Path) -> InputSizes:
        """Write the file, with its description in the extra file `vision_attn.json`."""
        found = program(trained.model, trained.spec.image_size, self.fixed_size)
        described = json.dumps(description(trained, found.sizes), indent=2, ensure_ascii=False)
        with warnings.catch_warnings():
            # torch 2.14 warns about kernels in channels_last layout, but the file is complete, as
            # the comparison with the model shows.
            warnings.filterwarnings("ignore", "No complete tensor found in the group")
            content = io.BytesIO()  # if torch itself writes to a full disk, the process aborts
            torch.export.save(found.exported, content, extra_files={DESCRIPTION: described})
        atomic_write(path, lambda temporary: temporary.write_bytes(content.getbuffer()))
        return found.sizes

    def open(self, path: Path, trusted: Collection[str] = ()) -> RunModel:
        """Load the exported program. Only for trusted files: torch may unpickle parts of them."""
        return torch.export.load(path).module()
