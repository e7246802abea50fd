"""Training progress: a progress bar on a terminal, else one log line per epoch."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import RenderableType
from rich.progress import ProgressColumn, Task
from rich.text import Text

from vision_attn.core.pace import rate
from vision_attn.core.progress import LINE_EVERY, ProgressBar
from vision_attn.core.terminal import say
from vision_attn.data.dataset import Batch
from vision_attn.training.callbacks.throughput import Throughput


class ThroughputColumn(ProgressColumn):
    """Progress bar column: images per second, and the time left of the whole training."""

    def __init__(self, trainer: pl.Trainer, throughput: Throughput) -> None:
        super().__init__()
        self.trainer = trainer
        self.throughput = throughput

    def render(self, task: Task) -> RenderableType:
        """The text of the column."""
        if not self.throughput.steps or not self.trainer.training:
            return Text("")
        left = self.throughput.time_left(self.trainer)
        return Text(f"{self.throughput.images_per_second():.0f} images/s, {left} left", style="dim")


class TrainingBar(RichProgressBar):
    """Lightning's rich progress bar, with images per second instead of batches per second."""

    def __init__(self, throughput: Throughput) -> None:
        super().__init__(refresh_rate=5)
        self.throughput = throughput

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        """Description, bar and count of Lightning, then the throughput."""
        description, bar, count, *_ = super().configure_columns(trainer)
        return [description, bar, count, ThroughputColumn(trainer, self.throughput)]

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """No metrics beside the bar, where they would wrap: `EpochLines` prints them above it."""
        return {}

    def _get_train_description(self, current_epoch: int) -> str:
        """The epoch, counted from 1 as in the lines and in the report."""
        total = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}{f'/{total}' if total is not None and total > 0 else ''}"


class EpochLines(Callback):
    """Prints one plain line per epoch, and one every 30 seconds of a long epoch, for log files.

    The line of an epoch is printed when the next epoch starts or the training ends, since only
    then all scores of the epoch are known.

    Args:
        throughput: measures the training.
        monitored: the validation score that the best weights are selected by.
        on_screen: whether a bar shows how far an epoch is, so that only whole epochs are printed.
    """

    def __init__(self, throughput: Throughput, monitored: str, on_screen: bool = False) -> None:
        self.throughput = throughput
        self.on_screen = on_screen
        self.monitored = monitored
        self.epoch: int | None = None
        self.shown_at = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of the previous epoch."""
        self.print_line(trainer)
        self.epoch = trainer.current_epoch
        self.shown_at = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        i: int,
    ) -> None:
        """Print how far a long epoch is."""
        now = time.monotonic()
        if self.on_screen:
            return
        if now - self.shown_at >= LINE_EVERY and trainer.is_global_zero:
            self.shown_at = now
            done = f"{i + 1:,} of {trainer.num_training_batches:,} batches"
            say(f"{self.numbered(trainer)}  {done}  {self.speed(trainer)}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of the last epoch."""
        self.print_line(trainer)

    def numbered(self, trainer: pl.Trainer) -> str:
        """The number of the epoch, and how many there are; no such number if only steps count."""
        total = trainer.max_epochs
        count = (self.epoch or 0) + 1
        return f"epoch {count}/{total}" if total is not None and total > 0 else f"epoch {count}"

    def speed(self, trainer: pl.Trainer) -> str:
        """Images per second, and the time left."""
        speed = rate(self.throughput.images_per_second(), "images")
        return f"{speed}, {self.throughput.time_left(trainer)} left"

    def print_line(self, trainer: pl.Trainer) -> None:
        """Print scores, throughput and the time left."""
        if self.epoch is None or not trainer.is_global_zero:
            return
        scores = trainer.callback_metrics
        shown = ["train/loss", "train/accuracy", "val/loss", "val/accuracy"]
        shown += [self.monitored] if self.monitored not in shown else []
        texts = [f"{name} {float(scores[name]):.3f}" for name in shown if name in scores]
        speed = [] if self.on_screen else [self.speed(trainer)]  # the bar shows it
        say("  ".join([self.numbered(trainer), *texts, *speed]))


class ScoringBar(Callback):
    """Progress of scoring validation and test images where Lightning shows no bar."""

    def __init__(self) -> None:
        self.bar: ProgressBar | None = None

    def start(self, trainer: pl.Trainer, title: str, batches: list[int | float]) -> None:
        """Start a bar over the batches of all data loaders."""
        if not trainer.sanity_checking and trainer.is_global_zero:
            alone = trainer.state.fn != "fit"  # else the training tells its time as a whole
            self.bar = ProgressBar(title, int(sum(batches)), "batches", tells_time=alone)
            self.bar.__enter__()

    def advance(self) -> None:
        """Count a batch."""
        if self.bar is not None:
            self.bar.advance()

    def end(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.__exit__()
            self.bar = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the bar of a validation."""
        self.start(trainer, "validating", trainer.num_val_batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the bar of the test images."""
        self.start(trainer, "testing", trainer.num_test_batches)

    def on_validation_batch_end(self, *_: object) -> None:
        """Count a validation batch."""
        self.advance()

    def on_test_batch_end(self, *_: object) -> None:
        """Count a test batch."""
        self.advance()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar of a validation."""
        self.end()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar of the test images."""
        self.end()

    def on_exception(self, *_: object) -> None:
        """Give the terminal back after a failure."""
        self.end()
