"""How well the times that `fit` tells fit the times that it takes, stage by stage.

python scripts/bench_time_told.py --data shapes --data PETS --data FLOWERS17 [--repeats 3]

It trains with `vision-attn fit --data DATA`, all else at its default, and compares the time that
each stage told in its first seconds with the time that the stage took. Stages that end before they
print an estimate are left out. It holds for the machine as it is at that moment, so other programs
that start or end meanwhile count as errors.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import lightning.pytorch as pl

from vision_attn.core.pace import SHORT
from vision_attn.core.progress import ProgressBar
from vision_attn.training.callbacks.throughput import Throughput
from vision_attn.training.fit import fit
from vision_attn.training.fit_request import FitRequest

Row = tuple[str, float, float]
"""The name of a stage, the seconds told and the seconds taken."""


class Measured:
    """Records the estimated and the actual time of all progress bars and trainings here."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.told: dict[int, float] = {}

    def watch(self) -> None:
        """Replace the methods that tell times and end stages by ones that also note them."""
        say_bar, end_bar = ProgressBar.say_time, ProgressBar.__exit__
        say_training, measured = Throughput.say_time, self

        def bar_says(bar: ProgressBar) -> None:
            if bar.pace.seconds_left >= SHORT:
                measured.told[id(bar)] = bar.pace.seconds
            say_bar(bar)

        def bar_ends(
            bar: ProgressBar,
            kind: type[BaseException] | None = None,
            error: BaseException | None = None,
            trace: TracebackType | None = None,
        ) -> None:
            end_bar(bar, kind, error, trace)
            if id(bar) in measured.told:
                taken = time.monotonic() - bar.pace.started
                measured.rows.append((bar.title, measured.told.pop(id(bar)), taken))

        def training_says(throughput: Throughput, trainer: pl.Trainer) -> None:
            passed = time.monotonic() - throughput.started
            measured.told[id(throughput)] = passed + throughput.seconds_left(trainer)
            say_training(throughput, trainer)

        def training_ends(
            throughput: Throughput, trainer: pl.Trainer, module: pl.LightningModule
        ) -> None:
            if id(throughput) in measured.told:
                taken = time.monotonic() - throughput.started
                measured.rows.append(("training", measured.told.pop(id(throughput)), taken))

        ProgressBar.say_time, ProgressBar.__exit__ = bar_says, bar_ends  # type: ignore[method-assign,assignment]
        Throughput.say_time = training_says  # type: ignore[method-assign]
        Throughput.on_train_end = training_ends  # type: ignore[method-assign]


def main() -> None:
    """Print a table: data, stage, seconds told, seconds taken, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="append", required=True, help="may be repeated")
    parser.add_argument("--pretrained", help="as in fit")
    parser.add_argument("--epochs", type=int, help="as in fit")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    settings = [("model.pretrained", options.pretrained), ("trainer.max_epochs", options.epochs)]
    given = [(name, value) for name, value in settings if value is not None]
    measured = Measured()
    measured.watch()
    lines = [f"`{' '.join(['python', *sys.argv])}`", ""]
    lines += ["| data | stage | told, s | taken, s | told / taken |", "|---|---|---|---|---|"]
    for data in options.data * options.repeats:
        with tempfile.TemporaryDirectory() as folder:
            fit(FitRequest(data=data, options=given, run_dir=Path(folder, "run")))
        lines += [
            f"| {Path(data).name} | {stage} | {told:.0f} | {taken:.0f} | {told / taken:.2f} |"
            for stage, told, taken in measured.rows
        ]
        measured.rows.clear()
    print("\n".join(lines))


if __name__ == "__main__":
    main()
