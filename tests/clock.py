"""A clock for tests of times, and callbacks that move it."""

import lightning.pytorch as pl


class Clock:
    """A clock that only moves when a test says so; it can stand in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


CLOCK = Clock()


class Slow(pl.Callback):
    """A training batch takes 10 s and a validation batch 4 s."""

    def on_train_batch_start(self, *_: object) -> None:
        CLOCK.now += 10

    def on_validation_batch_end(self, *_: object) -> None:
        CLOCK.now += 4


class Slower(Slow):
    """From the second epoch on the machine is ten times slower."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        CLOCK.now += 100 if trainer.current_epoch else 10
