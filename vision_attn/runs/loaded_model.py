"""Load the trained model of a run, with its specification."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from vision_attn.data.io.gray_range import GrayRange, as_range
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.model_spec import ModelSpec


@dataclass(frozen=True)
class LoadedModel:
    """A trained model with its specification.

    Attributes:
        folder: the run folder.
        spec: class names, image size, architecture.
        model: the network: images (B, 3, H, W) in [0, 1] to logits (B, K).
        trusted: dotted paths of the user's own classes that may be imported.
    """

    folder: RunFolder
    spec: ModelSpec
    model: AttentionClassifier
    trusted: Collection[str] = ()

    @classmethod
    def from_run(
        cls, run: str | Path, trusted: Collection[str] = (), device: torch.device | None = None
    ) -> Self:
        """Load the model of a run folder in eval mode.

        Args:
            run: a folder that `fit` made, or one that was downloaded from the Hub.
            trusted: dotted paths of the user's own classes that may be imported.
            device: the device of the model; None takes the GPU if there is one.

        Raises:
            UserError: there is no model, it is damaged, or it names a class that is not trusted.
        """
        folder = RunFolder(Path(run))
        spec = folder.load_spec()
        usual = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return cls(folder, spec, folder.load_model(trusted).to(device or usual), trusted)

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the logits."""
        return self.spec.class_names

    @property
    def gray_range(self) -> GrayRange | None:
        """Which values are black and white in grayscale images of more than 8 bits."""
        return as_range(self.spec.gray_range)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.backbone.mean.device
