"""The LightningModule that trains a classifier: loss, metrics, optimizer and schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from vision_attn.core.errors import UserError, one_line
from vision_attn.metrics.classification import ClassificationMetrics
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import Activation, AttentionClassifier
from vision_attn.models.defaults import default_backbone, default_grid_size, default_stride
from vision_attn.pooling.base import Pooled, PoolingFactory
from vision_attn.training.cell_deletion import delete_cells, delete_one_cell
from vision_attn.training.intervals import Outcomes
from vision_attn.training.losses import (
    LOSSES,
    absent_evidence_loss,
    deletion_loss,
    freeze_bias,
    main_class,
)
from vision_attn.training.optimizers import split_by_lr, with_fused_update
from vision_attn.training.schedules import SCHEDULES

OptimizerFactory = Callable[[Iterable], torch.optim.Optimizer]

NO_CELLS = torch.empty(0, dtype=torch.long)
PAIRED = 4  # one in this many training images is shown again with a deleted cell
FINE_TUNED_STEM = 0.1  # of the learning rate: early features differ little between data sets


class ClassificationTask(pl.LightningModule):
    """Trains an `AttentionClassifier`.

    `pooling` and `optimizer` have no default on purpose: a class that replaces a default of another
    class would keep the arguments of that class.

    Args:
        pooling: the attention pooling, by file name or dotted path.
        optimizer: any optimizer of torch or timm.
        num_classes: number of classes, set by the data.
        image_size: height and width of images in pixels, set by the data.
        backbone: timm's name of the architecture; None takes resnet18, or a light network to
            train from scratch without a GPU.
        pretrained: true for timm's weights (from its local cache, an installed weights package or
            its hub), the name of such a package, or a weights file or folder.
        backbone_options: further arguments of `timm.create_model`.
        min_grid: smallest height and width of the feature map, in cells; None takes 4 for images
            under 48 pixels, 6 under 128 and 7 above.
        stride: leave out the backbone's stages with a larger stride than this; None keeps all, but
            drops the last one if the feature map would be too coarse to train from scratch.
        removed_strides: how many strides to set to 1, from the stem on; None removes as many as
            `min_grid` needs.
        loss: `cross_entropy`, or `binary_cross_entropy` for evidence that has a meaning for each
            class by itself.
        label_smoothing: share of the target that is spread over all classes.
        absent_evidence_weight: weight of a loss on evidence for classes that an image does not
            show. It increases linearly from 0 during training, since a penalty from the start makes
            the model learn less.
        deletion_loss_weight: weight of a loss on the difference between the evidence in a cell and
            the drop of the logits when the cell is deleted; a quarter of the images is shown twice
            for it. It increases linearly from 0 during training.
        max_deleted_cells: up to this many of the 4x4 cells of each training image are deleted at
            random.
        warmup: share of the training in which the learning rate increases.
        schedule: how the learning rate then decreases: `cosine` or `linear`.
        freeze_epochs: number of first epochs in which only pooling and head are trained.
        frozen_batch_norm: whether batch norm keeps its statistics and uses them in training, so
            that small batches and few images do not change what pretrained weights know.
        stem_lr_scale: learning rate of the backbone's first layers, as a share of that of its last
            layers, with equal ratios in between (Howard & Ruder 2018, arXiv 1801.06146). None takes
            0.1 for pretrained weights, else 1. If it is given, the weights are assumed to be
            pretrained, and the default backbone is used in full.
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
        frozen_batch_norm: bool = False,
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
        self.frozen_batch_norm = frozen_batch_norm
        self.stem_lr_scale = stem_lr_scale or (FINE_TUNED_STEM if pretrained else 1.0)
        self.loss = LOSSES[loss]
        self.label_smoothing = label_smoothing
        self.absent_evidence_weight = absent_evidence_weight
        self.deletion_loss_weight = deletion_loss_weight
        self.max_deleted_cells = max_deleted_cells
        if binary:
            freeze_bias(self.model.head)
        self.outcomes = Outcomes()  # of the split that was scored last
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

    def use_activation(self, activation: Activation) -> None:
        """Score the model by its probabilities: after calibration they are a softmax."""
        self.model.activation = activation
        if activation == "softmax":
            self.loss = LOSSES["cross_entropy"]

    def metrics_of(self, stage: str) -> ClassificationMetrics:
        """The metrics of a stage: "train", "val" or "test"."""
        return cast(ClassificationMetrics, self.scores[f"{stage}_scores"])

    def loss_and_metrics(self, stage: str, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch, which is also added to the metrics of the stage.

        The metrics report the plain loss; label smoothing affects only the loss that is minimized.
        """
        plain = self.loss(logits, targets, 0.0)
        probabilities = self.model.probabilities(logits.float())
        self.metrics_of(stage).add(logits, probabilities, main_class(targets), plain)
        if stage == "train" and self.label_smoothing:
            return self.loss(logits, targets, self.label_smoothing)
        return plain

    @property
    def total_steps(self) -> int:
        """The number of training steps; a time limit makes it smaller during the training."""
        return int(self.trainer.estimated_stepping_batches)

    @property
    def progress(self) -> float:
        """Share of the training steps that are done, from 0 to 1."""
        return self.global_step / self.total_steps

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The training loss of a batch."""
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
        """Append copies of the first images with one deleted cell each; also returns the cells."""
        some = images[: len(images) // PAIRED]
        changed, cells = delete_one_cell(some, self.model.backbone.mean)
        return torch.cat([images, changed]), cells

    def evidence_losses(
        self, pooled: Pooled, logits: Tensor, targets: Tensor, cells: Tensor
    ) -> Tensor:
        """The weighted losses on evidence maps, for models whose logit is a sum over locations.

        The last `len(cells)` images are copies of the first ones, each with that cell deleted.
        """
        count, pairs = len(targets), len(cells)
        evidence = pooled.evidence(self.model.head.weight)[:count]
        loss = self.absent_evidence_weight * absent_evidence_loss(evidence, targets)
        if pairs:
            drops = logits[:pairs] - logits[count:]
            loss = loss + self.deletion_loss_weight * deletion_loss(evidence[:pairs], drops, cells)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Score a validation batch; it is empty if none of its images could be read."""
        if len(batch[1]):
            self.score("val", *batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Score a test batch; it is empty if none of its images could be read."""
        if len(batch[1]):
            self.score("test", *batch)

    def score(self, stage: str, images: Tensor, targets: Tensor) -> None:
        """Add a batch of images to the scores of a stage."""
        logits = self(images)
        self.loss_and_metrics(stage, logits, targets)
        self.outcomes.add(logits, main_class(targets))

    def on_validation_epoch_start(self) -> None:
        """Forget the images of the last time."""
        self.outcomes.clear()

    def on_test_epoch_start(self) -> None:
        """Forget the images of the last time."""
        self.outcomes.clear()

    def log_scores(self, stage: str) -> None:
        """Log the metrics of the epoch and reset them."""
        scores = self.metrics_of(stage)
        self.log_dict(scores.compute(), prog_bar=stage == "val")
        scores.reset()

    @property
    def frozen(self) -> bool:
        """Whether the backbone is frozen in this epoch."""
        return self.current_epoch < self.freeze_epochs

    def frozen_parameters(self) -> list[nn.Parameter]:
        """The parameters of the backbone that are frozen in this epoch."""
        network = self.model.backbone
        return (
            list(network.parameters())
            if self.frozen
            else network.frozen_parameters(self.current_epoch)
        )

    def on_train_epoch_start(self) -> None:
        """Freeze the backbone in the first epochs, including its batch norm statistics."""
        self.model.backbone.train(not self.frozen)
        if self.frozen_batch_norm:
            freeze_statistics(self.model.backbone)
        frozen = set(self.frozen_parameters())
        if self.trainer.world_size == 1:  # DDP expects a gradient for every parameter
            for parameter in self.learnable:  # without those that the network itself freezes
                parameter.requires_grad_(parameter not in frozen)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Remove the gradients of frozen parameters."""
        for parameter in self.frozen_parameters():
            parameter.grad = None

    def on_train_epoch_end(self) -> None:
        """Log the training metrics, which were collected while the weights changed."""
        self.log_scores("train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self.outcomes.gather()
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self.outcomes.gather()
        self.log_scores("test")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimizer, without weight decay on biases and norms, and the learning rate schedule.

        Raises:
            UserError: the training has no limit, or the optimizer refuses its arguments.
        """
        filters = [p for p in self.model.backbone.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        rest = set(self.model.parameters()) - {*filters, *vectors}
        groups: list[dict[str, Any]] = [
            {"params": filters},
            # Muon orthogonalizes filters; queries and class weights use its fallback optimizer.
            {"params": [p for p in self.model.parameters() if p in rest], "use_fallback": True},
            {"params": vectors, "weight_decay": 0.0, "use_fallback": True},
        ]
        rates = self.model.backbone.lr_scales(self.stem_lr_scale)
        try:
            optimizer = with_fused_update(self.optimizer(split_by_lr(groups, rates)))
        except (ValueError, TypeError, RuntimeError) as error:  # which it is, depends on its class
            raise UserError(f"the optimizer refuses its arguments: {one_line(error)}") from error
        for group in optimizer.param_groups:
            group["lr"] *= group["rate"]
        if math.isinf(self.trainer.estimated_stepping_batches):
            raise UserError(
                "the training would never end; set a limit, such as --trainer.max_epochs 10."
            )
        optimizer.register_step_post_hook(lambda *_: self.model.backbone.post_step())
        schedule = LambdaLR(
            optimizer, lambda step: self.schedule(step, self.total_steps, self.warmup)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def freeze_statistics(network: nn.Module) -> None:
    """Put all batch norms of a network into eval mode; their weights can still learn.

    >>> network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
    >>> freeze_statistics(network)
    >>> network[0].training, network[1].training
    (False, True)
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
