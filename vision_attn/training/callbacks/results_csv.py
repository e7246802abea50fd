"""Callback that writes `results.csv`: all scores of a training, one line per epoch."""

import csv
import io
import time
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from vision_attn.core.atomic import write_text
from vision_attn.core.errors import UserError, first_line
from vision_attn.training.optimizers import base_lr

Row = dict[str, str]


class ResultsCsv(Callback):
    """Writes `epoch`, `seconds`, `lr` and every logged score of each epoch into a CSV file.

    `seconds` counts from the start of the training, without interruptions; `lr` is the learning
    rate of the last layers, at the end of the epoch.

    The line is written when the next epoch starts or the training ends, since only then all scores
    of the epoch are known. A resumed training appends to the existing lines.

    Args:
        path: the CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.epoch: int | None = None
        self.started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the lines of finished epochs if the training resumes."""
        kept = [row for row in read_rows(self.path) if int(row["epoch"]) <= trainer.current_epoch]
        self.rows = kept if trainer.ckpt_path else []
        before = float(self.rows[-1].get("seconds") or 0) if self.rows else 0.0
        self.started = time.monotonic() - before

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the line of the previous epoch."""
        self.write(trainer)
        self.epoch = trainer.current_epoch

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the line of the last epoch."""
        self.write(trainer)
        self.epoch = None

    def write(self, trainer: pl.Trainer) -> None:
        """Add the line of an epoch and write the file."""
        if self.epoch is None or not trainer.is_global_zero:
            return
        scores = {
            name: f"{float(value):.6g}"
            for name, value in sorted(trainer.callback_metrics.items())
            if name.startswith(("train/", "val/"))
        }
        row = {
            "epoch": str(self.epoch + 1),
            "seconds": f"{time.monotonic() - self.started:.1f}",
            "lr": f"{base_lr(trainer.optimizers[0]):.6g}",
        }
        self.rows.append(row | scores)
        write_text(self.path, as_csv(self.rows))


def as_csv(rows: list[Row]) -> str:
    r"""Rows as CSV, with a column for every key.

    >>> as_csv([{"epoch": "1", "val/loss": "0.5"}])
    'epoch,val/loss\n1,0.5\n'
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a `results.csv`; [] if the file is missing or has no epochs.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if (row.get("epoch") or "").isdecimal()]
        for row in rows:
            int(row["epoch"]), float(row.get("seconds") or 0)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}); move it away.") from None
    return rows
