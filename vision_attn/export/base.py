"""The promise of an export format: how a model is written, and how what was written is run."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vision_attn.core.version import __version__
from vision_attn.runs.loaded_model import LoadedModel

Run = Callable[[Tensor], dict[str, Tensor]]
"""Images (B, 3, H, W) in [0, 1] to the outputs by name."""

OUTPUTS = {
    "logits": "(B, K)",
    "probabilities": "(B, K)",
    "attention": "(B, n, h, w): n heads, each summing to 1 over the h x w places",
    "evidence": "(B, K, h, w): summed over places, plus the class's bias, it is the logit",
}
"""What an exported model gives, in this order."""


@dataclass(frozen=True)
class Sizes:
    """Which images a written model takes.

    Attributes:
        any: whether height and width may vary.
        reason: why they may not, where that was not the user's choice.
    """

    any: bool
    reason: str = ""


class Exporter(ABC):
    """One form in which a model leaves its run. A new one is one file with one subclass.

    Attributes:
        file_name: what it is called in the run folder, unless the user names it.
        title: what to call the format to the user.
    """

    file_name: str
    title: str

    @abstractmethod
    def check_installed(self) -> None:
        """Find out before any work whether it can be written here.

        Raises:
            UserError: a library is missing, with the command that installs it.
        """

    @abstractmethod
    def write(self, trained: LoadedModel, place: Path) -> Sizes | None:
        """Write the model to a place that is free, with its description.

        Args:
            trained: what to write.
            place: a file, or a folder where `file_name` has no suffix.

        Returns:
            Which images it takes; None where that is as it was.
        """

    @abstractmethod
    def open(self, place: Path, trusted: Collection[str] = ()) -> Run:
        """Open what was written, as its users will."""


def description(trained: LoadedModel, sizes: Sizes) -> dict[str, Any]:
    """What users of an exported model need to know, ready for JSON."""
    spec = trained.spec
    return {
        "vision_attn": __version__,
        "class_names": spec.class_names,
        "image_size": spec.image_size,
        "any_height_and_width": sizes.any,
        "input": "float32 (B, 3, height, width), RGB, bytes / 255; normalisation is inside",
        "reading": (
            "EXIF orientation applied, alpha over white, 16-bit greys scaled; the whole image "
            "squeezed to image_size x image_size by Pillow's BICUBIC, nothing cropped"
        ),
        "probabilities": spec.activation,
        "outputs": OUTPUTS,
        "bias": trained.model.head.bias.tolist(),
        "backbone": spec.backbone,
        "pooling": spec.pooling["class_path"],
    }


def metadata_texts(described: dict[str, Any]) -> dict[str, str]:
    """A description for formats whose metadata are texts: all but texts as JSON.

    >>> metadata_texts({"input": "RGB", "class_names": ["ant", "bee"]})
    {'input': 'RGB', 'class_names': '["ant", "bee"]'}
    """
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in described.items()
    }
