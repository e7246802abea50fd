"""Training progress: a progress bar on a terminal, else one log line per epoch."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import RenderableType
from rich.progress import ProgressColumn, Task
from rich.text import Text

from vision_attn.core.terminal import say
from vision_attn.data.dataset import Batch


class Throughput(Callback):
    """Measures the throughput of a training in images per second, and estimates the time left.

    The throughput is that of whole epochs: it counts training images, but includes the time of
    validation.
    """

    def __init__(self) -> None:
        self.started = 0.0
        self.images = 0
        self.steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started, self.images, self.steps = time.monotonic(), 0, 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        i: int,
    ) -> None:
        """Count the images of a batch."""
        self.images += len(batch[0])
        self.steps += 1

    def images_per_second(self) -> float:
        """Training images per second since the start."""
        return self.images / max(time.monotonic() - self.started, 1e-9)

    def time_left(self, trainer: pl.Trainer) -> str:
        """Estimated time to the end of the training, as minutes and seconds."""
        total = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        done = trainer.fit_loop.total_batch_idx + 1
        if not self.steps or total == float("inf"):
            return "--:--"
        seconds_per_step = (time.monotonic() - self.started) / self.steps
        return clock(max(total - done, 0) * seconds_per_step)


def clock(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds.

    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
        super().__init__(leave=True, refresh_rate=5)
        self.throughput = throughput

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        """Description, bar and count of Lightning, then the throughput."""
        description, bar, count, *_ = super().configure_columns(trainer)
        return [description, bar, count, ThroughputColumn(trainer, self.throughput)]

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The metrics at the end of the bar, without Lightning's version number."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class EpochLines(Callback):
    """Prints one plain line per epoch, for log files and pipes.

    The line is printed when the next epoch starts or the training ends, since only then all scores
    of the epoch are known.
    """

    def __init__(self, throughput: Throughput, monitored: str) -> None:
        self.throughput = throughput
        self.monitored = monitored
        self.epoch: int | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of the previous epoch."""
        self.print_line(trainer)
        self.epoch = trainer.current_epoch

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of the last epoch."""
        self.print_line(trainer)

    def print_line(self, trainer: pl.Trainer) -> None:
        """Print scores, throughput and the time left."""
        if self.epoch is None or not trainer.is_global_zero:
            return
        scores = trainer.callback_metrics
        shown = ["train/loss", "train/accuracy", "val/loss", "val/accuracy"]
        shown += [self.monitored] if self.monitored not in shown else []
        texts = [f"{name} {float(scores[name]):.3f}" for name in shown if name in scores]
        speed = f"{self.throughput.images_per_second():.0f} images/s"
        epoch = f"epoch {self.epoch + 1}/{trainer.max_epochs}"
        left = self.throughput.time_left(trainer)
        say(f"{epoch}  {'  '.join(texts)}  {speed}, {left} left")
