"""How it learns: loss, metrics, optimiser and schedule. Knows no architecture."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from vision_attn.backbone import Backbone
from vision_attn.balanced_accuracy import BalancedAccuracy
from vision_attn.errors import UserError
from vision_attn.losses import LOSSES, hold_bias
from vision_attn.model import AttentionClassifier
from vision_attn.pooling.base import PoolingFactory

OptimizerFactory = Callable[[Iterable], torch.optim.Optimizer]

COARSE_ENOUGH = 48  # pixels: below, a 4x4 grid must do; above, 7x7, as ImageNet models have


class ClassificationTask(pl.LightningModule):
    """Trains an `AttentionClassifier`.

    `pooling` and `optimizer` have no default on purpose: a class laid over a default of another
    class would keep its arguments.

    Args:
        pooling: the attention pooling, by file name or dotted path.
        optimizer: any optimiser of torch or timm.
        num_classes: comes from the data.
        image_size: comes from the data.
        backbone: timm's name of the architecture.
        pretrained: true for timm's weights from its hub, or a weights file or folder.
        backbone_options: further arguments of `timm.create_model`.
        min_grid: places a side that the feature grid has at least; None takes 4 for images under
            48 pixels and 7 above.
        stride: leave off the backbone's stages that reduce images more than this; None keeps all.
        unstrided: how many strides to leave out, from the stem on; None takes as many as
            `min_grid` needs.
        loss: `cross_entropy`, or `binary_cross_entropy` for evidence that means something by
            itself, class by class.
        label_smoothing: share of the target that is spread over all classes.
        warmup: share of the training in which the learning rate rises; it then falls as a cosine.
        freeze_epochs: first epochs in which only pooling and head learn.
    """

    def __init__(
        self,
        pooling: PoolingFactory,
        optimizer: OptimizerFactory,
        num_classes: int,
        image_size: int,
        backbone: str = "resnet18",
        pretrained: bool | str = False,
        backbone_options: dict[str, Any] | None = None,
        stride: int | None = None,
        min_grid: int | None = None,
        unstrided: int | None = None,
        loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy",
        label_smoothing: float = 0.0,
        warmup: float = 0.1,
        freeze_epochs: int = 0,
    ) -> None:
        super().__init__()
        network = Backbone(backbone, pretrained, unstrided or 0, backbone_options, stride)
        if min_grid or unstrided is None:
            network.refine(image_size, min_grid or (4 if image_size < COARSE_ENOUGH else 7))
        binary = loss == "binary_cross_entropy"
        self.model = AttentionClassifier(network, pooling, num_classes, independent=binary)
        self.optimizer = optimizer
        self.warmup = warmup
        self.freeze_epochs = freeze_epochs
        self.loss = LOSSES[loss]
        self.label_smoothing = label_smoothing
        if binary:
            hold_bias(self.model.head)
        scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro"),
                "balanced_accuracy": BalancedAccuracy(num_classes),
                "loss": MeanMetric(),
            },
            compute_groups=False,  # each is updated by itself
        )
        self.scores = nn.ModuleDict(
            {
                f"{stage}_scores": scores.clone(prefix=f"{stage}/")
                for stage in ("train", "val", "test")
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images in [0, 1]."""
        return self.model(images)

    def scores_of(self, stage: str) -> MetricCollection:
        """The scores that a stage collects."""
        return cast(MetricCollection, self.scores[f"{stage}_scores"])

    def step(self, stage: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Loss of a batch; its scores are added to the stage's."""
        images, targets = batch
        logits = self(images)
        # Smoothed targets are for learning; what is reported is the plain loss.
        plain = self.loss(logits, targets, 0.0)
        scores = self.scores_of(stage)
        scores["accuracy"].update(logits, targets)
        scores["balanced_accuracy"].update(logits, targets)
        scores["loss"].update(plain.detach(), len(targets))
        if stage != "train" or not self.label_smoothing:
            return plain
        return self.loss(logits, targets, self.label_smoothing)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One step of training."""
        return self.step("train", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One batch of validation, unless none of its images could be read."""
        if len(batch[1]):
            self.step("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One batch of testing, unless none of its images could be read."""
        if len(batch[1]):
            self.step("test", batch)

    def log_scores(self, stage: str) -> None:
        """Hand the epoch's scores to the loggers and start anew."""
        scores = self.scores_of(stage)
        self.log_dict(scores.compute(), prog_bar=stage == "val")
        scores.reset()

    @property
    def frozen(self) -> bool:
        """Whether only pooling and head learn now."""
        return self.current_epoch < self.freeze_epochs

    def on_train_epoch_start(self) -> None:
        """Hold the backbone still in the first epochs, its batch statistics included."""
        self.model.backbone.train(not self.frozen)
        if self.trainer.world_size == 1:  # DDP wants every parameter to have a gradient
            self.model.backbone.requires_grad_(not self.frozen)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients of a backbone that is held still."""
        if self.frozen:
            for parameter in self.model.backbone.parameters():
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
        """The optimiser without weight decay on biases and norms; warm-up, then a cosine."""
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = self.optimizer(groups)
        if math.isinf(self.trainer.estimated_stepping_batches):
            raise UserError("the training has no end: name one, such as --trainer.max_epochs 10.")
        total = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: warmup_then_cosine(step, total, self.warmup))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def warmup_then_cosine(step: int, total: int, warmup: float) -> float:
    """Factor of the learning rate: up in a line, down to 0 as a cosine (arXiv 1608.03983).

    >>> [round(warmup_then_cosine(step, 100, 0.1), 3) for step in (0, 9, 10, 55, 100)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rising = max(round(warmup * total), 1)
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * min((step - rising) / max(total - rising, 1), 1))) / 2
