"""What a person sees while a model trains: a bar on a terminal, a line an epoch elsewhere."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import RenderableType
from rich.progress import ProgressColumn, Task
from rich.text import Text

from vision_attn.data.dataset import Batch


class Throughput(Callback):
    """Counts images while training and tells how fast it goes and how long it will take.

    Batches of validation take time too, but no training images: the pace is that of a whole epoch.
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
        """Count a batch."""
        self.images += len(batch[0])
        self.steps += 1

    def images_per_second(self) -> float:
        """Training images a second since the start."""
        return self.images / max(time.monotonic() - self.started, 1e-9)

    def time_left(self, trainer: pl.Trainer) -> str:
        """Time to the end of the training, as minutes and seconds."""
        total = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        done = trainer.fit_loop.total_batch_idx + 1
        if not self.steps or total == float("inf"):
            return "--:--"
        each = (time.monotonic() - self.started) / self.steps
        return clock(max(total - done, 0) * each)


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds.

    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class PaceColumn(ProgressColumn):
    """Images a second, and the time left of the whole training."""

    def __init__(self, trainer: pl.Trainer, pace: Throughput) -> None:
        super().__init__()
        self.trainer = trainer
        self.pace = pace

    def render(self, task: Task) -> RenderableType:
        """One cell of the bar."""
        if not self.pace.steps or not self.trainer.training:
            return Text("")
        left = self.pace.time_left(self.trainer)
        return Text(f"{self.pace.images_per_second():.0f} images/s, {left} left", style="dim")


class ImagesBar(RichProgressBar):
    """Lightning's rich bar, counting images a second in the place of batches."""

    def __init__(self, pace: Throughput) -> None:
        super().__init__(leave=True, refresh_rate=5)
        self.pace = pace

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        """Description, bar and count as they are; then the pace."""
        description, bar, count, *_ = super().configure_columns(trainer)
        return [description, bar, count, PaceColumn(trainer, self.pace)]

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What the bar shows at its end, without Lightning's version number."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class EpochLines(Callback):
    """One plain line an epoch, for logs and pipes.

    An epoch is told when the next one starts or the training ends: only then are all its scores
    known.
    """

    def __init__(self, pace: Throughput, monitored: str) -> None:
        self.pace = pace
        self.monitored = monitored
        self.epoch: int | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the epoch before."""
        self.tell(trainer)
        self.epoch = trainer.current_epoch

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the last epoch."""
        self.tell(trainer)

    def tell(self, trainer: pl.Trainer) -> None:
        """Print scores, pace and the time left."""
        if self.epoch is None or not trainer.is_global_zero:
            return
        scores = trainer.callback_metrics
        shown = ["train/loss", "train/accuracy", "val/loss", "val/accuracy"]
        shown += [self.monitored] if self.monitored not in shown else []
        told = [f"{name} {float(scores[name]):.3f}" for name in shown if name in scores]
        pace = f"{self.pace.images_per_second():.0f} images/s"
        epoch = f"epoch {self.epoch + 1}/{trainer.max_epochs}"
        left = self.pace.time_left(trainer)
        print(f"{epoch}  {'  '.join(told)}  {pace}, {left} left", flush=True)
