"""Keeps the best weights of a run as `model.safetensors`, while it trains."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from vision_attn.data.datamodule import ImageData
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import ModelCard, RunFolder
from vision_attn.training.callbacks.ema import kept


class ModelKeeper(Callback):
    """Writes the model whenever a validation score is the best so far (the later one of equals).

    A run that is stopped can so be used at once, by what is whole in its folder. Where weights are
    averaged, it is the average that was validated and is kept.
    """

    def __init__(self, folder: RunFolder, card: ModelCard, monitored: str) -> None:
        self.folder = folder
        self.card = card
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
            self.folder.save_model(kept(trainer, pl_module).model, self.card)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last weights where no validation has chosen any."""
        if self.best < 0 and trainer.is_global_zero:
            self.folder.save_model(kept(trainer, pl_module).model, self.card)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best = state_dict["best"]


def card_of(model: AttentionClassifier, pooling: dict[str, Any], data: ImageData) -> ModelCard:
    """The card of a model about to be trained."""
    backbone = model.backbone
    return ModelCard(
        backbone=backbone.name,
        backbone_options=backbone.options,
        stride=backbone.stride,
        unstrided=backbone.unstrided,
        pooling=pooling,
        class_names=data.class_names,
        image_size=data.image_size,
        mean=backbone.mean.flatten().tolist(),
        std=backbone.std.flatten().tolist(),
        independent=model.independent,
    )
