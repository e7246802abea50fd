"""Export to a folder for the Hugging Face Hub: weights, description and model card."""

from collections.abc import Collection
from pathlib import Path

from vision_attn.export.base import Exporter, RunModel
from vision_attn.export.hub_model import HubClassifier
from vision_attn.export.program import Outputs
from vision_attn.runs.loaded_model import LoadedModel


class Hub(Exporter):
    """A folder written by `save_pretrained`; every command accepts it in path of a run."""

    file_name = "hub"
    title = "a folder for the Hugging Face Hub"

    def check_installed(self) -> None:
        """Nothing to check: huggingface_hub is installed with timm."""

    def write(self, trained: LoadedModel, path: Path) -> None:
        """Write weights, description and model card."""
        model = HubClassifier.from_run(trained.folder.path, trained.trusted)
        model.save_pretrained(path)

    def open(self, path: Path, trusted: Collection[str] = ()) -> RunModel:
        """Load the model from the folder."""
        return Outputs(HubClassifier.from_pretrained(path, trusted=trusted))
