"""Callback that measures how fast a training goes, and tells how long it will take."""

import math
import time

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping

from vision_attn.core.pace import MEASURED, SHORT, clock
from vision_attn.core.terminal import say
from vision_attn.data.dataset import Batch

WARM_UP = 2  # first steps, which load code and fill caches, and are not measured


class Mean:
    """The mean of durations in seconds; 0 before the first."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Add one duration."""
        self.count += 1
        self.total += seconds

    @property
    def value(self) -> float:
        """The mean so far."""
        return self.total / max(self.count, 1)


class Throughput(Callback):
    """Measures steps, validations and the rest of an epoch, and estimates the time left.

    After the first seconds of steps a line tells how long the training will take. Before the first
    validation, its duration is estimated from the batches of Lightning's sanity check. If the
    layers that learn change (`--model.freeze_epochs`), steps are measured anew, and a second line
    is printed.

    Attributes:
        started: when the training started, by `time.monotonic`; 0 before.
        images: training images since then.
        steps: training batches since then.
        step: seconds per training batch, with loading it.
        validation: seconds per validation.
        rest: seconds per epoch that are neither steps nor validation: checkpoints, logs.
    """

    def __init__(self) -> None:
        self.started = 0.0
        self.images = 0
        self.steps = 0
        self.step, self.validation, self.rest = Mean(), Mean(), Mean()
        self.sanity_batch = 0.0  # seconds of the last batch of the sanity check
        self.mark = 0.0  # the end of the last batch, or the start of the epoch
        self.paused = 0.0  # the start of a validation, or of a batch of the sanity check
        self.warm_up = WARM_UP
        self.frozen: object = None
        self.told = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started, self.images, self.steps = time.monotonic(), 0, 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure what was done since the last step; measure steps anew if other layers learn."""
        now = time.monotonic()
        if self.steps:
            self.rest.add(now - self.mark)
        self.mark = now
        frozen = getattr(pl_module, "frozen", False)
        if frozen != self.frozen:
            self.frozen, self.step, self.warm_up, self.told = frozen, Mean(), WARM_UP, False

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        i: int,
    ) -> None:
        """Count the images of a batch, measure it, and tell the time once it is known."""
        now = time.monotonic()
        self.images += len(batch[0]) * trainer.world_size
        self.steps += 1
        if self.warm_up and i + 1 < trainer.num_training_batches:
            self.warm_up -= 1
        else:
            self.warm_up = 0
            self.step.add(now - self.mark)
        self.mark = now
        if self.is_measured and not self.told:
            self.told = True
            self.say_time(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of a validation."""
        self.paused = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure a validation."""
        if not trainer.sanity_checking:
            seconds = time.monotonic() - self.paused
            self.validation.add(seconds)
            self.mark += seconds  # no part of a step, nor of the rest of the epoch

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Start the clock of a batch of the sanity check."""
        if trainer.sanity_checking:
            self.paused = time.monotonic()

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Measure a batch of the sanity check."""
        if trainer.sanity_checking:
            self.sanity_batch = time.monotonic() - self.paused

    @property
    def is_measured(self) -> bool:
        """Whether enough steps were measured for an estimate."""
        return self.step.total >= MEASURED

    def images_per_second(self) -> float:
        """Training images per second since the start, with the time of validation."""
        return self.images / max(time.monotonic() - self.started, 1e-9)

    def validation_seconds(self, trainer: pl.Trainer) -> float:
        """Seconds of a validation: measured, or estimated from a batch; 0 if there is none."""
        if self.validation.count:
            return self.validation.value
        batches = sum(count for count in trainer.num_val_batches if math.isfinite(count))
        return self.sanity_batch * batches

    def seconds_for(self, trainer: pl.Trainer, steps: float) -> float:
        """Estimated seconds of the next steps, with the validations and epoch ends among them."""
        done = trainer.fit_loop.total_batch_idx + 1
        end, epoch = done + steps, trainer.num_training_batches
        epochs = end // epoch - done // epoch
        every = trainer.val_check_batch or epoch
        if trainer.check_val_every_n_epoch:
            every *= trainer.check_val_every_n_epoch
        validations = end // every - done // every if math.isfinite(every) else epochs
        pauses = epochs * self.rest.value + validations * self.validation_seconds(trainer)
        return steps * self.step.value + pauses

    def steps_left(self, trainer: pl.Trainer) -> float:
        """Training batches to the end; infinite if that is not known."""
        total = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        return max(total - trainer.fit_loop.total_batch_idx - 1, 0)

    def seconds_left(self, trainer: pl.Trainer) -> float:
        """Estimated seconds to the end of the training; infinite before steps were measured."""
        steps = self.steps_left(trainer)
        if not self.step.count or math.isinf(steps):
            return math.inf
        return self.seconds_for(trainer, steps)

    def time_left(self, trainer: pl.Trainer) -> str:
        """Estimated time to the end of the training, as minutes and seconds."""
        return clock(self.seconds_left(trainer))

    def say_time(self, trainer: pl.Trainer) -> None:
        """Say how long the whole training will take, unless it is nearly done."""
        left = self.seconds_left(trainer)
        if not (trainer.is_global_zero and SHORT <= left < math.inf):
            return
        seconds = clock(time.monotonic() - self.started + left)
        validation = self.validation_seconds(trainer)
        parts = f"{self.step.value:.2g} s per step, {validation:.2g} s per validation"
        early = any(isinstance(found, EarlyStopping) for found in callbacks_of(trainer))
        unless = "; shorter if it stops early" if early else ""
        say(f"time      training takes about {seconds} ({parts}{unless})")


def callbacks_of(trainer: pl.Trainer) -> list[Callback]:
    """The trainer's callbacks, an attribute that Lightning does not declare."""
    return trainer.callbacks  # type: ignore[attr-defined]
