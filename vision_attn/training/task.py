"""How it learns: loss, metrics, optimiser and schedule. Knows no architecture."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from vision_attn.core.errors import UserError
from vision_attn.metrics.classification import ClassificationMetrics
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import Activation, AttentionClassifier
from vision_attn.models.defaults import default_backbone, default_grid_size, default_stride
from vision_attn.pooling.base import Pooled, PoolingFactory
from vision_attn.training.cell_deletion import delete_cells, delete_one_cell
from vision_attn.training.losses import (
    LOSSES,
    evidence_for_absent,
    evidence_off,
    hold_bias,
    main_class,
)
from vision_attn.training.optimizers import fused
from vision_attn.training.schedules import SCHEDULES

OptimizerFactory = Callable[[Iterable], torch.optim.Optimizer]

NO_CELLS = torch.empty(0, dtype=torch.long)
PAIRED = 4  # of so many training images one is shown twice, whole and without a cell
FINE_TUNED_STEM = 0.1  # of the learning rate: what first layers see is much the same everywhere


class ClassificationTask(pl.LightningModule):
    """Trains an `AttentionClassifier`.

    `pooling` and `optimizer` have no default on purpose: a class laid over a default of another
    class would keep its arguments.

    Args:
        pooling: the attention pooling, by file name or dotted path.
        optimizer: any optimiser of torch or timm.
        num_classes: comes from the data.
        image_size: comes from the data.
        backbone: timm's name of the architecture; None takes resnet18, or a light network where
            it would have to learn from scratch without a GPU.
        pretrained: true for timm's weights from its hub, or a weights file or folder.
        backbone_options: further arguments of `timm.create_model`.
        min_grid: places a side that the feature grid has at least; None takes 4 for images under
            48 pixels, 6 under 128 and 7 above.
        stride: leave off the backbone's stages that reduce images more than this; None keeps all,
            but for the last where a training from scratch would end on too coarse a grid.
        removed_strides: how many strides to leave out, from the stem on; None takes as many as
            `min_grid` needs.
        loss: `cross_entropy`, or `binary_cross_entropy` for evidence that means something by
            itself, class by class.
        label_smoothing: share of the target that is spread over all classes.
        absent_evidence_weight: weight of a loss on evidence for classes that an image does not show; it
            rises from 0 in a line, since places that may not err from the start learn less.
        deletion_loss_weight: weight of a loss on how far the evidence in a cell of a training image is
            from what the logits lose with it; a quarter of the images is shown twice for it. It
            rises from 0 in a line, too.
        max_deleted_cells: up to so many of the 4x4 cells of a training image become plain, at random.
        warmup: share of the training in which the learning rate rises.
        schedule: how it then falls, as a cosine or in a line.
        freeze_epochs: first epochs in which only pooling and head learn.
        stem_lr_scale: the learning rate of the backbone's first layers as a share of the last's, with
            even ratios between (Howard & Ruder 2018, arXiv 1801.06146); None takes a tenth for
            pretrained weights, else the same everywhere. Where it is given, weights are taken to
            come from elsewhere, and the backbone stays whole.
    """

    def __init__(
        self,
        pooling: PoolingFactory,
        optimizer: OptimizerFactory,
        num_classes: int,
        image_size: int,
        backbone: str | None = None,
        pretrained: bool | str = False,
        backbone_options: dict[str, Any] | None = None,
        stride: int | None = None,
        min_grid: int | None = None,
        removed_strides: int | None = None,
        loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy",
        label_smoothing: float = 0.0,
        absent_evidence_weight: float = 0.0,
        deletion_loss_weight: float = 0.0,
        max_deleted_cells: int = 0,
        warmup: float = 0.1,
        schedule: Literal["cosine", "linear"] = "cosine",
        freeze_epochs: int = 0,
        stem_lr_scale: float | None = None,
    ) -> None:
        super().__init__()
        from_scratch = not pretrained and stem_lr_scale is None
        accelerated = torch.accelerator.is_available()
        name, options = default_backbone(backbone, backbone_options, from_scratch, accelerated)
        if stride is None and from_scratch and not (min_grid or removed_strides is not None):
            stride = default_stride(name, options, image_size)
        network = Backbone(name, pretrained, removed_strides or 0, options, stride)
        if min_grid or removed_strides is None:
            network.refine(image_size, min_grid or default_grid_size(image_size))
        self.learnable = [p for p in network.parameters() if p.requires_grad]
        binary = loss == "binary_cross_entropy"
        activation: Activation = "sigmoid" if binary else "softmax"
        self.model = AttentionClassifier(network, pooling, num_classes, activation)
        self.optimizer = optimizer
        self.warmup = warmup
        self.schedule = SCHEDULES[schedule]
        self.freeze_epochs = freeze_epochs
        self.stem_lr_scale = stem_lr_scale or (FINE_TUNED_STEM if pretrained else 1.0)
        self.loss = LOSSES[loss]
        self.label_smoothing = label_smoothing
        self.absent_evidence_weight = absent_evidence_weight
        self.deletion_loss_weight = deletion_loss_weight
        self.max_deleted_cells = max_deleted_cells
        if binary:
            hold_bias(self.model.head)
        self.scores = nn.ModuleDict(
            {
                f"{stage}_scores": ClassificationMetrics(stage, num_classes)
                for stage in ("train", "val", "test")
            }
        )

    def resolved_settings(self) -> dict[str, Any]:
        """The settings that may have been chosen automatically, with their values."""
        network = self.model.backbone
        return {
            "backbone": network.name,
            "backbone_options": network.options,
            "removed_strides": network.removed_strides,
            "stride": network.stride,
            "stem_lr_scale": self.stem_lr_scale,
        }

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images in [0, 1]."""
        return self.model(images)

    def metrics_of(self, stage: str) -> ClassificationMetrics:
        """The scores that a stage collects."""
        return cast(ClassificationMetrics, self.scores[f"{stage}_scores"])

    def loss_and_metrics(self, stage: str, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits; the scores are added to the stage's.

        What is reported is the plain loss; smoothed targets and the like are for learning.
        """
        plain = self.loss(logits, targets, 0.0)
        probabilities = self.model.probabilities(logits.float())
        self.metrics_of(stage).add(logits, probabilities, main_class(targets), plain)
        if stage == "train" and self.label_smoothing:
            return self.loss(logits, targets, self.label_smoothing)
        return plain

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        return self.global_step / self.trainer.estimated_stepping_batches

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One step of training."""
        images, targets = batch
        if self.max_deleted_cells:
            images = delete_cells(images, self.model.backbone.mean, self.max_deleted_cells)
        shown, cells = (
            self.with_deleted_copies(images) if self.deletion_loss_weight else (images, NO_CELLS)
        )
        pooled = self.model.attend(shown)
        logits = self.model.head(pooled.context)
        loss = self.loss_and_metrics("train", logits[: len(images)], targets)
        if self.absent_evidence_weight or self.deletion_loss_weight:
            loss = loss + self.progress * self.evidence_losses(pooled, logits, targets, cells)
        return loss

    def with_deleted_copies(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images and the first of them again without a cell each; the cells."""
        some = images[: len(images) // PAIRED]
        changed, cells = delete_one_cell(some, self.model.backbone.mean)
        return torch.cat([images, changed]), cells

    def evidence_losses(
        self, pooled: Pooled, logits: Tensor, targets: Tensor, cells: Tensor
    ) -> Tensor:
        """The losses that only a model can be asked for whose logit is a sum over places.

        The last `len(cells)` of the images are the first ones, each without that cell.
        """
        count, pairs = len(targets), len(cells)
        evidence = pooled.evidence(self.model.head.weight)[:count]
        loss = self.absent_evidence_weight * evidence_for_absent(evidence, targets)
        if pairs:
            falls = logits[:pairs] - logits[count:]
            loss = loss + self.deletion_loss_weight * evidence_off(evidence[:pairs], falls, cells)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One batch of validation, unless none of its images could be read."""
        if len(batch[1]):
            images, targets = batch
            self.loss_and_metrics("val", self(images), targets)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One batch of testing, unless none of its images could be read."""
        if len(batch[1]):
            images, targets = batch
            self.loss_and_metrics("test", self(images), targets)

    def log_scores(self, stage: str) -> None:
        """Hand the epoch's scores to the loggers and start anew."""
        scores = self.metrics_of(stage)
        self.log_dict(scores.compute(), prog_bar=stage == "val")
        scores.reset()

    @property
    def frozen(self) -> bool:
        """Whether only pooling and head learn now."""
        return self.current_epoch < self.freeze_epochs

    def frozen_parameters(self) -> list[nn.Parameter]:
        """What of the backbone does not learn now."""
        network = self.model.backbone
        return (
            list(network.parameters())
            if self.frozen
            else network.frozen_parameters(self.current_epoch)
        )

    def on_train_epoch_start(self) -> None:
        """Hold the backbone still in the first epochs, its batch statistics included."""
        self.model.backbone.train(not self.frozen)
        held = set(self.frozen_parameters())
        if self.trainer.world_size == 1:  # DDP wants every parameter to have a gradient
            for parameter in self.learnable:  # not what the network itself holds still
                parameter.requires_grad_(parameter not in held)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients of what is held still."""
        for parameter in self.frozen_parameters():
            parameter.grad = None

    def on_train_epoch_end(self) -> None:
        """Log the training scores, which were collected while the weights still moved."""
        self.log_scores("train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores."""
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the test scores."""
        self.log_scores("test")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser without weight decay on biases and norms, and the learning rate's way."""
        filters = [p for p in self.model.backbone.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        rest = set(self.model.parameters()) - {*filters, *vectors}
        groups: list[dict[str, Any]] = [
            {"params": filters},
            # Queries and classes are no filters: timm's Muon is to leave their directions alone.
            {"params": [p for p in self.model.parameters() if p in rest], "use_fallback": True},
            {"params": vectors, "weight_decay": 0.0, "use_fallback": True},
        ]
        rates = self.model.backbone.lr_scales(self.stem_lr_scale)
        optimizer = fused(self.optimizer(split_by_lr(groups, rates)))
        for group in optimizer.param_groups:
            group["lr"] *= group["rate"]
        if math.isinf(self.trainer.estimated_stepping_batches):
            raise UserError("the training has no end: name one, such as --trainer.max_epochs 10.")
        optimizer.register_step_post_hook(lambda *_: self.model.backbone.post_step())
        total = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: self.schedule(step, total, self.warmup))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def split_by_lr(groups: list[dict[str, Any]], rates: dict[Tensor, float]) -> list[dict[str, Any]]:
    """Each group split into those of its parameters that learn at the same share of the rate.

    >>> stem, head = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))
    >>> [group["rate"] for group in split_by_lr([{"params": [stem, head]}], {stem: 0.1})]
    [0.1, 1.0]
    """
    split = []
    for group in groups:
        members: dict[float, list[Tensor]] = {}
        for parameter in group["params"]:
            members.setdefault(rates.get(parameter, 1.0), []).append(parameter)
        split += [group | {"params": members[rate], "rate": rate} for rate in members]
    return split
