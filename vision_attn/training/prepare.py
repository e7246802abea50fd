"""Prepare a training: build task, data and trainer, load weights, and read the images."""

import time
from contextlib import nullcontext
from dataclasses import dataclass

from vision_attn.data.datamodule import ImageDataModule
from vision_attn.runs.model_spec import ModelSpec
from vision_attn.training.auto_settings import auto_settings, recorded_auto_settings
from vision_attn.training.both_stages import POOLING
from vision_attn.training.callbacks.best_model import spec_of
from vision_attn.training.callbacks.checkpoint_io import next_epoch
from vision_attn.training.config import Config, merge
from vision_attn.training.fit_request import Attempt
from vision_attn.training.init_from import init_from
from vision_attn.training.lightning_cli import TrainingCLI
from vision_attn.training.provenance import (
    recorded_weights,
)
from vision_attn.training.refusal import check_length


@dataclass(frozen=True)
class Preparation:
    """A training that is ready to start; nothing is written yet.

    Attributes:
        cli: task, data and trainer.
        resolved: all settings.
        chosen: the settings that were chosen automatically.
        spec: the content of `model.json`.
        loaded: a line on weights that were loaded from another run or file.
    """

    cli: TrainingCLI
    resolved: Config
    chosen: list[str]
    spec: ModelSpec
    loaded: str = ""


def prepare(attempt: Attempt) -> Preparation:
    """Build task, data and trainer, load weights, and read the images.

    Raises:
        UserError: invalid settings, images or weights.
    """
    checkpoint, folder, request = attempt.checkpoint, attempt.folder, attempt.request
    config = attempt.config
    pretrained = config["model"].get("pretrained", False)
    if checkpoint:  # it contains all weights: do not download them again
        config = merge(config, {"model": {"pretrained": False}})
    with folder.size_limit() if checkpoint else nullcontext():  # the run may be untrusted
        cli = TrainingCLI(config, folder)
    resolved = cli.resolved_config()
    model, data = cli.model.model, cli.datamodule
    if checkpoint:
        resolved["model"]["pretrained"] = pretrained
        data.first_epoch = next_epoch(checkpoint)
        check_length(checkpoint, cli.trainer.max_epochs, cli.trainer.max_steps)
    source = request.init_from
    loaded = init_from(model, source, data.class_names) if source else ""
    chosen = recorded_auto_settings(folder.config)
    if not chosen:
        chosen = [*auto_settings(cli.given_config(), resolved), *attempt.weights.chosen]
        chosen += [POOLING] * (attempt.open_stages and cli.stages.probe)
    attempt.deadline.reading = read_images(data)
    if not (checkpoint or source):
        model.backbone.init_from_data(data.sample)
    weights = attempt.weights.record or recorded_weights(folder)
    spec = spec_of(model, resolved["model"]["pooling"], data, weights)  # refuses what is too large
    names = [name for name in chosen if name not in request.option_names]
    return Preparation(cli, resolved, names, spec, loaded)


def read_images(data: ImageDataModule) -> float:
    """Read the images of the training; unreadable ones are reported before anything is written.

    Returns:
        Estimated seconds for reading the test images at the end, by the speed of these.
    """
    before, started = set(data.stores), time.monotonic()
    data.setup("fit")
    read = sum(len(store) for name, store in data.stores.items() if name not in before)
    unread = 0 if "test" in data.stores else len(data.splits.get("test", ()))
    return unread * (time.monotonic() - started) / read if read else 0.0
