"""Callback that ends a training in time (`--max_minutes`), with fewer epochs or steps."""

import math
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from vision_attn.core.terminal import say
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.dataset import Batch
from vision_attn.training.callbacks.throughput import Throughput
from vision_attn.training.deadline import Deadline

MARGIN = 1.1  # of the estimated seconds: other programs may slow the machine down
CLOSING = 2.0  # seconds for calibration and files


class Plan(NamedTuple):
    """What fits into the time: whole epochs or, if not even one fits, steps.

    Attributes:
        epochs: how many there will be, with those before; None if the last one is cut short.
        steps: how many there will be, with those before; None if all epochs are whole.
    """

    epochs: int | None
    steps: int | None


class TimeLimit(Callback):
    """Plans as many whole epochs as fit into the time, once the first steps were measured.

    The learning rate then falls to 0 over the planned epochs. A training with a finished schedule
    is better than one of the same length that is stopped in the middle of a longer schedule, while
    the rate is still high (Li, Yumer & Ramanan 2020, "Budgeted training", arXiv 1905.04753), and
    what one expects of a limit is the best model within it. If not even one epoch fits, its steps
    are planned in the same way. A later epoch never adds to the plan, but takes from it if the
    machine has become slower. Validation, calibration and the final scores fit into the time.

    The checkpoint is an ordinary one: a run that resumes has all its epochs again, and goes on
    with the learning rate of that place in the schedule.

    Args:
        deadline: its closing is set to the time of calibration and the final scores.
        throughput: the callback that measures; it comes before this one.

    Attributes:
        whole: epochs and steps of the training without a limit; None before the first step.
        ended: whether the time has ended the training.
    """

    def __init__(self, deadline: Deadline, throughput: Throughput) -> None:
        self.deadline = deadline
        self.throughput = throughput
        self.whole: tuple[int, int] | None = None
        self.planned_in: int | None = None  # the last epoch in which was planned
        self.ended = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember how long the training is without a limit."""
        self.whole = (trainer.max_epochs or 0, int(trainer.estimated_stepping_batches))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        i: int,
    ) -> None:
        """Plan, once per epoch; stop if the time is over, or the planned steps are done."""
        self.deadline.closing = closing_seconds(trainer, self.throughput) + self.deadline.reading
        # The clock of one process decides for all.
        over, plan = trainer.strategy.broadcast(self.decision(trainer, i))
        self.ended |= over
        if over or trainer.global_step >= trainer.estimated_stepping_batches:
            trainer.should_stop = True  # which also validates, in the middle of an epoch
        elif plan is not None:
            self.follow(trainer, plan)

    def decision(self, trainer: pl.Trainer, i: int) -> tuple[bool, Plan | None]:
        """Whether the time is over after batch `i` of this epoch; else the plan, if it changes."""
        if self.seconds_left(trainer) < self.throughput.step.value:
            return True, None
        if not self.throughput.is_measured or self.planned_in == trainer.current_epoch:
            return False, None
        self.planned_in = trainer.current_epoch
        return False, self.plan(trainer, i)

    def seconds_left(self, trainer: pl.Trainer) -> float:
        """Seconds for steps, without those of the last validation; with a margin."""
        after = self.throughput.validation_seconds(trainer) + self.throughput.rest.value
        return self.deadline.seconds_left / MARGIN - after

    def plan(self, trainer: pl.Trainer, i: int) -> Plan | None:
        """What fits into the time after batch `i` of this epoch; None if everything does."""
        available = self.deadline.seconds_left / MARGIN
        if self.throughput.seconds_left(trainer) <= available:
            return None
        of_epoch = int(trainer.num_training_batches)
        here, fitting = of_epoch - i - 1, 0
        while self.throughput.seconds_for(trainer, here + fitting * of_epoch) <= available:
            fitting += 1
        if fitting:
            return Plan(trainer.current_epoch + fitting, None)
        batches = self.seconds_left(trainer) / self.throughput.step.value
        steps = math.floor(batches) // trainer.accumulate_grad_batches
        return Plan(None, trainer.global_step + max(steps, 1))

    def follow(self, trainer: pl.Trainer, plan: Plan) -> None:
        """Make the training as short as planned; the schedule of the learning rate follows."""
        epochs, steps = cast(tuple[int, int], self.whole)
        if plan.epochs is not None:
            trainer.fit_loop.max_epochs = plan.epochs
            what = f"{plan.epochs} of {epochs} epochs"
        else:
            trainer.fit_loop.epoch_loop.max_steps = cast(int, plan.steps)
            what = f"{plan.steps:,} of {steps:,} steps"
        if trainer.is_global_zero:
            say(
                f"time      planned: {what}, in which the learning rate falls to 0 "
                f"(--max_minutes {self.deadline.minutes:g})"
            )

    def outcome(self, trainer: pl.Trainer) -> str:
        """After what the time ended the training; empty if it did not."""
        if self.whole is None:
            return ""
        epochs, steps = self.whole
        done = trainer.global_step
        if done >= steps or not (self.ended or done >= trainer.estimated_stepping_batches):
            return ""
        finished = done * trainer.accumulate_grad_batches // int(trainer.num_training_batches)
        whole = f" of {epochs}" if epochs > 0 else ""
        return (
            f"by --max_minutes {self.deadline.minutes:g} after {finished}{whole} epochs "
            f"({done:,} of {steps:,} steps)"
        )


def closing_seconds(trainer: pl.Trainer, throughput: Throughput) -> float:
    """Estimated seconds of calibration and the final scores, by the speed of validation.

    Validation images are predicted twice then, and test images once.
    """
    data = cast(ImageDataModule, cast(Any, trainer).datamodule)  # which Lightning does not type
    validation, test = (len(data.splits.get(name, ())) for name in ("val", "test"))
    if validation and throughput.validation_seconds(trainer):
        per_image = throughput.validation_seconds(trainer) / validation
    else:  # a training step is at most as fast as a prediction
        per_image = throughput.step.value / data.batch_size
    return CLOSING + per_image * (2 * validation + test)
