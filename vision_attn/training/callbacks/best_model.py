"""Callback that saves the best model during training, as `model.safetensors`."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn

from vision_attn.core.errors import UserError
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.models.pretrained.license import WeightsRecord
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.limits import check_forward
from vision_attn.runs.model_spec import ModelSpec, check_spec
from vision_attn.training.callbacks.ema import averaged_module


class SaveBestModel(Callback):
    """Saves the model when its validation score is the best so far, or equal to the best.

    The model of a run that is stopped early can therefore be used at once. With an EMA of the
    weights, the average is validated and saved.

    Args:
        folder: the run folder.
        spec: the content of `model.json`.
        monitored: name of the validation score; higher is better.

    Attributes:
        best: the best score so far; -1 before the first.
        to_beat: the score of the model that is saved already, which a better one replaces; -1 if
            there is none.
    """

    def __init__(self, folder: RunFolder, spec: ModelSpec, monitored: str) -> None:
        self.folder = folder
        self.spec = spec
        self.monitored = monitored
        self.best = -1.0
        self.to_beat = -1.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the model if it is the best so far."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        if trainer.state.fn != "fit":
            return
        score = float(trainer.callback_metrics[self.monitored])
        if score >= self.best and score > self.to_beat:
            self.best = score
            self.folder.save_model(model_of(averaged_module(trainer, pl_module)), self.spec)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last weights if there was no validation."""
        if self.best < 0 and self.to_beat < 0 and trainer.is_global_zero:
            self.folder.save_model(model_of(averaged_module(trainer, pl_module)), self.spec)

    @property
    def outcome(self) -> str:
        """Whether training improved the model that was saved before it."""
        if self.best < 0:
            return f"not kept: {self.monitored} was never over {self.to_beat:.4f}, the probe's"
        return f"kept: {self.monitored} {self.best:.4f}, from {self.to_beat:.4f} after the probe"

    def state_dict(self) -> dict[str, Any]:
        """The best score, for the checkpoint."""
        return {"best": self.best, "to_beat": self.to_beat}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score from a checkpoint; those of old runs have no score to beat."""
        self.best = state_dict["best"]
        self.to_beat = state_dict.get("to_beat", -1.0)


def model_of(task: nn.Module) -> AttentionClassifier:
    """The `AttentionClassifier` inside a task."""
    assert isinstance(task.model, AttentionClassifier)
    return task.model


def spec_of(
    model: AttentionClassifier,
    pooling: dict[str, Any],
    data: ImageDataModule,
    weights: WeightsRecord | None = None,
) -> ModelSpec:
    """The specification (`model.json`) of a model that is about to be trained.

    Args:
        model: the model.
        pooling: the class of its pooling, with arguments.
        data: the images.
        weights: the pretrained weights that it starts from.

    Raises:
        UserError: the model is over a limit of those that can be loaded.
    """
    backbone = model.backbone
    spec = ModelSpec(
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
        weights=weights,
        gray_range=None if data.gray_range is None else list(data.gray_range),
    )
    try:
        check_spec(spec)
    except ValueError as error:
        raise UserError(f"this model could not be loaded again: {error}.") from error
    check_forward(model, data.image_size)
    return spec
