"""The promise of an export format: how a model is written, and how what was written is run."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vision_attn.core.version import __version__
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import ModelCard, RunFolder

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
class Trained:
    """A run's model, in eval mode on the CPU, with all that is known about it.

    Attributes:
        folder: the run.
        card: what the model is.
        model: the model.
        trusted: dotted paths of the user's own classes that may be imported.
    """

    folder: RunFolder
    card: ModelCard
    model: AttentionClassifier
    trusted: Collection[str] = ()


@dataclass(frozen=True)
class Sizes:
    """Which images a written model takes.

    Attributes:
        any: whether height and width may vary.
        reason: why they may not, where that was not the user's choice.
    """

    any: bool
    reason: str = ""


class Format(ABC):
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
    def write(self, trained: Trained, place: Path) -> Sizes | None:
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


def description(trained: Trained, sizes: Sizes) -> dict[str, Any]:
    """What users of an exported model need to know, ready for JSON."""
    card = trained.card
    return {
        "vision_attn": __version__,
        "class_names": card.class_names,
        "image_size": card.image_size,
        "any_height_and_width": sizes.any,
        "input": "float32 (B, 3, height, width), RGB, bytes / 255; normalisation is inside",
        "reading": (
            "EXIF orientation applied, alpha over white, 16-bit greys scaled; the whole image "
            "squeezed to image_size x image_size by Pillow's BICUBIC, nothing cropped"
        ),
        "probabilities": "sigmoid" if card.independent else "softmax",
        "outputs": OUTPUTS,
        "bias": trained.model.head.bias.tolist(),
        "backbone": card.backbone,
        "pooling": card.pooling["class_path"],
    }


def as_text(described: dict[str, Any]) -> dict[str, str]:
    """A description for formats whose metadata are texts: all but texts as JSON.

    >>> as_text({"input": "RGB", "class_names": ["ant", "bee"]})
    {'input': 'RGB', 'class_names': '["ant", "bee"]'}
    """
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in described.items()
    }
