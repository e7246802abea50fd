"""Callback that shows heatmaps of a few validation images in TensorBoard, every epoch."""

from collections.abc import Iterator
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vision_attn.core.heatmap import Heatmap
from vision_attn.core.terminal import printable
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.io.read_many import read_many
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.visualization.overlay import blend

IMAGES = 4
SIDE = 160  # largest height and width in pixels: a long training writes some megabytes


class TensorBoardOverlays(Callback):
    """Adds heatmap overlays to TensorBoard after each validation; ignores other loggers.

    The images are the same in every epoch, spread over the classes. Each is shown with its
    attention map and the evidence map of its predicted class.
    """

    def __init__(self) -> None:
        self.images: list[Tensor] | None = None
        self.titles: list[str] = []

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the pictures of this epoch."""
        boards = [log for log in trainer.loggers if isinstance(log, TensorBoardLogger)]
        watched = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not (boards and watched and trainer.is_global_zero):
            return
        data = cast(Any, trainer).datamodule  # Lightning sets it without typing it
        if self.images is None:
            self.images, self.titles = sample_images(data)
        if not self.images:
            return
        model = cast(AttentionClassifier, pl_module.model)
        for title, picture in strips(model, torch.stack(self.images), self.titles):
            for board in boards:
                # Names of files may have bytes that are not UTF-8, which no tag can have.
                tag = printable(title)
                board.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")


def sample_images(data: ImageDataModule) -> tuple[list[Tensor], list[str]]:
    """A few validation images, uint8 (3, size, size), and their classes.

    Unreadable images are left out; they were already reported when the data was read.
    """
    split = data.split("val")
    order = np.argsort(np.asarray(split.labels), kind="stable")  # by class
    chosen = order[np.linspace(0, len(order) - 1, min(IMAGES, len(order))).round().astype(int)]
    images, titles = [], []
    for index, image, _ in read_many(split, chosen.tolist(), data.image_size):
        if image is not None:
            images.append(image)
            titles.append(split.labels[index])
    return images, titles


@torch.no_grad()
def strips(
    model: AttentionClassifier, images: Tensor, titles: list[str]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """For each image (B, 3, H, W): the image, its attention and top-1 evidence, side by side."""
    shown = to_unit_range(images.to(model.backbone.mean.device))
    pooled = model.attend(shown)
    predicted = model.head(pooled.context).argmax(1)
    evidence = pooled.evidence(model.head.weight)
    for i, title in enumerate(titles):
        attention_map = Heatmap("attention", pooled.weights[i].mean(0).cpu(), signed=False)
        evidence_map = Heatmap("evidence", evidence[i, predicted[i]].cpu(), signed=True)
        side = min(images.shape[-1], SIDE)
        picture = Image.fromarray(images[i].permute(1, 2, 0).numpy()).resize((side, side))
        pixels = np.asarray(picture)
        strip = [pixels, blend(pixels, attention_map), blend(pixels, evidence_map)]
        yield f"overlays/{i + 1}_{title}", np.concatenate(strip, axis=1)
