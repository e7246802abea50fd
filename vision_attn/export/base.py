"""Interface of export formats: write a model, and open the written file to run it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vision_attn.core.version import __version__
from vision_attn.runs.loaded_model import LoadedModel

RunModel = Callable[[Tensor], dict[str, Tensor]]
"""A function from images (B, 3, H, W) in [0, 1] to the outputs, by name."""

OUTPUTS = {
    "logits": "(B, K)",
    "probabilities": "(B, K)",
    "attention": "(B, n, h, w): n heads, each summing to 1 over the h x w places",
    "evidence": "(B, K, h, w): the logit is its sum over places plus the bias of the class",
}
"""The outputs of an exported model, in this order, with their shapes."""


@dataclass(frozen=True)
class InputSizes:
    """The input sizes that an exported model accepts.

    Attributes:
        any: whether height and width may vary.
        reason: why they may not, if that was not the user's choice.
    """

    any: bool
    reason: str = ""


class Exporter(ABC):
    """A format that models are exported to. A new format is one file with one subclass.

    Attributes:
        file_name: the default name of the export in the run folder.
        title: the name of the format that is shown to the user.
    """

    file_name: str
    title: str

    @abstractmethod
    def check_installed(self) -> None:
        """Check that the required libraries are installed, before any work is done.

        Raises:
            UserError: a library is missing; the message has the command that installs it.
        """

    @abstractmethod
    def write(self, trained: LoadedModel, path: Path) -> InputSizes | None:
        """Write the model and its description to a path where nothing exists yet.

        Args:
            trained: the model to write.
            path: a file; a folder if `file_name` has no suffix.

        Returns:
            The accepted input sizes; None if they are the same as before the export.
        """

    @abstractmethod
    def open(self, path: Path, trusted: Collection[str] = ()) -> RunModel:
        """Open the exported file in the same way as its users will."""


def description(trained: LoadedModel, sizes: InputSizes) -> dict[str, Any]:
    """The metadata of an exported model that its users need, ready for JSON."""
    spec = trained.spec
    return {
        "vision_attn": __version__,
        "class_names": spec.class_names,
        "image_size": spec.image_size,
        "any_height_and_width": sizes.any,
        "input": "float32 (B, 3, height, width), RGB, bytes / 255; the model normalizes them",
        "reading": (
            "EXIF orientation applied, alpha over white, grayscale of more than 8 bits scaled so "
            "that gray_range is black to white (null: 0 to 65535 in 16 bits, else the darkest to "
            "the lightest pixel); the whole image resized to image_size x image_size by Pillow's "
            "BICUBIC, without cropping"
        ),
        "gray_range": spec.gray_range,
        "probabilities": spec.activation,
        "temperature": spec.temperature,  # the logits are already divided by it
        "outputs": OUTPUTS,
        "bias": trained.model.head.bias.tolist(),
        "backbone": spec.backbone,
        "pooling": spec.pooling["class_path"],
    }


def metadata_texts(described: dict[str, Any]) -> dict[str, str]:
    """A description as strings, for formats with string metadata; other values become JSON.

    >>> metadata_texts({"input": "RGB", "class_names": ["ant", "bee"]})
    {'input': 'RGB', 'class_names': '["ant", "bee"]'}
    """
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in described.items()
    }
