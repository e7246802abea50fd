"""The stages of fine-tuning: a probe of the frozen backbone, then gentle tuning of all layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vision_attn.core.registry import short_path
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.pooling.base import Pooling
from vision_attn.training.config import Config
from vision_attn.training.duration import TUNING_CPU_FLOPS, TUNING_MIN_EPOCHS, training_flops
from vision_attn.training.task import ClassificationTask

Tune = Literal["auto", "off", "full"]

ENOUGH_TO_TELL = 200
"""Validation images from which on tuning is judged by them.

At an accuracy of 90 %, the standard error of 200 images is 2 points; what tuning gains is often
less, so with fewer images the better model would be picked by luck.
"""
TUNING: Config = {
    "model": {
        "frozen_batch_norm": True,
        "stem_lr_scale": 0.1,
        "optimizer": {"init_args": {"lr": 0.0001}},
    }
}
"""Defaults of the tuning stage; config files and the user override them."""


@dataclass(frozen=True)
class Stages:
    """Which stages a training has.

    Attributes:
        probe: whether pooling and head are first fitted on features of the frozen backbone.
        tune: whether layers are then trained by gradient descent.
        note: why, in a line; empty if there is nothing to say.
    """

    probe: bool
    tune: bool
    note: str = ""


SINGLE_STAGE = Stages(probe=False, tune=True)


def against_probe(model: Mapping[str, Any]) -> str:
    """The setting of the model for which there is no probe; empty if there is none.

    >>> against_probe({"loss": "binary_cross_entropy"})
    '--model.loss binary_cross_entropy'
    >>> against_probe({"loss": "cross_entropy", "freeze_epochs": 0})
    ''
    """
    if model.get("loss") == "binary_cross_entropy":
        return "--model.loss binary_cross_entropy"
    weights = ("absent_evidence_weight", "deletion_loss_weight", "freeze_epochs")
    return next((f"--model.{name} {model[name]}" for name in weights if model.get(name)), "")


def plan_stages(
    tune: Tune, task: ClassificationTask, data: ImageDataModule, config: Config, accelerated: bool
) -> Stages:
    """The stages of a new training.

    Args:
        tune: `auto`, `off` or `full`.
        task: its model has the weights that it starts from.
        data: the images; only their number is used.
        config: all settings; a limit of the training in them asks for tuning.
        accelerated: whether there is a GPU.
    """
    if not config["model"].get("pretrained"):
        return SINGLE_STAGE
    reason = against_probe(config["model"])
    if type(task.model.pooling).make_head is not Pooling.make_head:
        name = short_path(Pooling, config["model"]["pooling"]["class_path"])
        reason = f"--pooling {name}, whose head is not free"
    if reason:
        return Stages(False, True, f"one stage: there is no probe with {reason}")
    if tune != "auto":
        return Stages(True, tune == "full")
    if has_limit(config["trainer"]):
        return Stages(True, True)
    count = len(data.splits.get("val", ()))
    if count < ENOUGH_TO_TELL:
        why = f"{count} validation images are too few to tell whether tuning helps"
    elif not accelerated and is_slow(task, data):
        why = "without a GPU, tuning would take long"
    else:
        return Stages(True, True)
    return Stages(True, False, f"the backbone stays frozen: {why} (--tune full)")


def has_limit(trainer: Mapping[str, Any]) -> bool:
    """Whether the user says how long to train.

    >>> [has_limit({"max_epochs": epochs, "max_steps": -1}) for epochs in (None, 3)]
    [False, True]
    """
    return trainer.get("max_epochs") is not None or trainer.get("max_steps", -1) != -1


def is_slow(task: ClassificationTask, data: ImageDataModule) -> bool:
    """Whether even the shortest tuning costs more than what is planned for it without a GPU."""
    flops = training_flops(task.model, data.image_size)
    return TUNING_MIN_EPOCHS * len(data.splits["train"]) * flops > TUNING_CPU_FLOPS


def trains_on_all(stages: Stages, data: ImageDataModule) -> bool:
    """Whether images that were cut for validation are trained on, too.

    A probe alone is judged out of fold and needs none. Images that are not files are cut again
    when the run is scored, so theirs stay apart.
    """
    if not stages.probe or stages.tune:
        return False
    files = all(split.are_files for split in data.splits.values())
    return files and "val" in data.cut
