"""What the model looks at while it learns: a few validation images, each epoch, in TensorBoard."""

from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor

from vision_attn.data.module import ImageData
from vision_attn.model import AttentionClassifier
from vision_attn.overlay import Explained, Heatmap, sheet

IMAGES = 4
DPI = 55  # small: a training of 60 epochs writes some megabytes


class Overlays(Callback):
    """Adds a sheet to TensorBoard after each validation; does nothing with another logger.

    The images are the same in every epoch, spread over the classes. Attention is where the model
    looks, evidence what speaks for the likeliest class.
    """

    def __init__(self) -> None:
        self.images: Tensor | None = None
        self.titles: list[str] = []

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the sheet of this epoch."""
        boards = [log for log in trainer.loggers if isinstance(log, TensorBoardLogger)]
        watched = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not (boards and watched and trainer.is_global_zero):
            return
        data = cast(Any, trainer).datamodule  # Lightning sets it without typing it
        if self.images is None:
            self.images, self.titles = some_images(data)
        model = cast(AttentionClassifier, pl_module.model)
        figure = drawn(model, self.images, self.titles, data.class_names)
        for board in boards:
            board.experiment.add_figure("val/overlays", figure, trainer.global_step, close=False)


def some_images(data: ImageData) -> tuple[Tensor, list[str]]:
    """A few validation images (B, 3, size, size) of bytes, and their classes.

    Those that cannot be read are left out; the stores have told of them.
    """
    split = data.split("val")
    order = np.argsort(np.asarray(split.labels), kind="stable")  # by class
    chosen = order[np.linspace(0, len(order) - 1, min(IMAGES, len(order))).round().astype(int)]
    images, titles = [], []
    for index in chosen.tolist():
        try:
            images.append(split.read(index, data.image_size))
        except OSError:
            continue
        titles.append(split.labels[index])
    size = data.image_size
    return torch.stack(images) if images else torch.empty(0, 3, size, size), titles


@torch.no_grad()
def drawn(
    model: AttentionClassifier, images: Tensor, titles: list[str], class_names: list[str]
) -> Figure:
    """Each image, its likeliest classes, attention and evidence; one line an image."""
    shown = images.to(model.backbone.mean.device).float() / 255
    pooled = model.attend(shown)
    chances = model.chances(model.head(pooled.context))
    best = chances.topk(min(3, len(class_names)))
    evidence = pooled.evidence(model.head.weight)
    rows = []
    for place, title in enumerate(titles):
        predictions = [
            (class_names[int(k)], float(p))
            for k, p in zip(best.indices[place], best.values[place], strict=True)
        ]
        heatmaps = [
            Heatmap("attention", pooled.weights[place].mean(0).cpu(), signed=False),
            Heatmap("evidence", evidence[place, best.indices[place, 0]].cpu(), signed=True),
        ]
        pixels = images[place].permute(1, 2, 0).numpy()
        rows.append(Explained(title, pixels, predictions, heatmaps, predictions[0][0]))
    figure = sheet(rows)
    figure.set_dpi(DPI)
    return figure
