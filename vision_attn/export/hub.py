"""A folder for the Hugging Face Hub: the model as it is, with a page that tells what it is."""

from collections.abc import Collection
from pathlib import Path

from vision_attn.export.base import Exporter, Run
from vision_attn.export.hub_model import HubClassifier
from vision_attn.export.program import Outputs
from vision_attn.runs.loaded_model import LoadedModel


class Hub(Exporter):
    """What `save_pretrained` writes; every verb takes the folder in the place of a run."""

    file_name = "hub"
    title = "a folder for the Hugging Face Hub"

    def check_installed(self) -> None:
        """All that it needs came with timm."""

    def write(self, trained: LoadedModel, place: Path) -> None:
        """Write weights, description and page."""
        model = HubClassifier.from_run(trained.folder.path, trained.trusted)
        model.save_pretrained(place)

    def open(self, place: Path, trusted: Collection[str] = ()) -> Run:
        """The model, loaded again."""
        return Outputs(HubClassifier.from_pretrained(place, trusted=trusted))
