"""Keeps the best weights of a run as `model.safetensors`, while it trains."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn

from vision_attn.data.datamodule import ImageDataModule
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.model_spec import ModelSpec
from vision_attn.training.callbacks.ema import averaged_module


class SaveBestModel(Callback):
    """Writes the model whenever a validation score is the best so far (the later one of equals).

    A run that is stopped can so be used at once, by what is whole in its folder. Where weights are
    averaged, it is the average that was validated and is kept.
    """

    def __init__(self, folder: RunFolder, spec: ModelSpec, monitored: str) -> None:
        self.folder = folder
        self.spec = spec
        self.monitored = monitored
        self.best = -1.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the model if it is the best so far."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        if trainer.state.fn != "fit":
            return
        score = float(trainer.callback_metrics[self.monitored])
        if score >= self.best:
            self.best = score
            self.folder.save_model(model_of(averaged_module(trainer, pl_module)), self.spec)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last weights where no validation has chosen any."""
        if self.best < 0 and trainer.is_global_zero:
            self.folder.save_model(model_of(averaged_module(trainer, pl_module)), self.spec)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best = state_dict["best"]


def model_of(task: nn.Module) -> AttentionClassifier:
    """The model of a task."""
    assert isinstance(task.model, AttentionClassifier)
    return task.model


def spec_of(
    model: AttentionClassifier, pooling: dict[str, Any], data: ImageDataModule
) -> ModelSpec:
    """The card of a model about to be trained."""
    backbone = model.backbone
    return ModelSpec(
        backbone=backbone.name,
        backbone_options=backbone.options,
        stride=backbone.stride,
        removed_strides=backbone.removed_strides,
        pooling=pooling,
        class_names=data.class_names,
        image_size=data.image_size,
        mean=backbone.mean.flatten().tolist(),
        std=backbone.std.flatten().tolist(),
        activation=model.activation,
    )
