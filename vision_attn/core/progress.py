"""Progress of long work: a bar on a terminal or in a notebook, plain lines everywhere else."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from vision_attn.core.pace import SHORT, Pace, clock, rate
from vision_attn.core.terminal import printable, say

T = TypeVar("T")
LINE_EVERY = 30.0  # seconds between plain lines
UPDATE_EVERY = 0.2  # seconds between updates of the bar


class ProgressBar:
    """Shows how much is done, how fast it goes and how long it will take.

    Work that takes longer than some seconds also gets one line that says how long it will take,
    measured on its first items; see `Pace`.

    Args:
        title: the name of the work.
        total: how many items there are.
        unit: what the items are.
        done: how many items were done before, in an interrupted run.
        tells_time: whether to say how long it will take; not if items take differently long.
        on_estimate: is called once with the estimated seconds left, after that line.
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str = "images",
        done: int = 0,
        tells_time: bool = True,
        on_estimate: Callable[[float], None] = lambda left: None,
    ) -> None:
        self.title = title
        self.unit = unit
        self.pace = Pace(total, done)
        self.on_estimate = on_estimate
        self.tells_time = tells_time
        self.estimated = False
        self.shown_at = time.monotonic()
        console = Console(stderr=True)
        self.drawn = console.is_terminal or console.is_jupyter
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
        )  # fmt: skip
        self.bar = Progress(*columns, console=console, disable=not self.drawn, transient=True)
        self.task = self.bar.add_task(printable(title), total=total, completed=done, speed="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, count: int = 1) -> None:
        """Count items that are done, and show it from time to time."""
        self.pace.advance(count)
        if self.tells_time and self.pace.is_measured and not self.estimated:
            self.estimated = True
            self.say_time()
            self.on_estimate(self.pace.seconds_left)
        now = time.monotonic()
        if now - self.shown_at < (UPDATE_EVERY if self.drawn else LINE_EVERY):
            return
        self.shown_at = now
        if self.drawn:
            self.bar.update(self.task, completed=self.pace.done, speed=self.speed())
        else:
            shown = f"{self.pace.done:,} of {self.pace.total:,} {self.unit}, {self.speed()}"
            say(f"{self.title}: {shown}", error=True)

    def say_time(self) -> None:
        """Say how long the whole work will take, unless it is nearly done."""
        if self.pace.seconds_left >= SHORT:
            seconds = clock(self.pace.seconds)
            say(f"{self.title}: about {seconds} for {self.pace.total:,} {self.unit}", error=True)

    def rename(self, title: str) -> None:
        """Change the title."""
        self.title = title
        self.bar.update(self.task, description=printable(title), completed=self.pace.done)
        if not self.drawn:
            say(title, error=True)

    def speed(self) -> str:
        """Items per second, and the time left if it can be told."""
        if not self.tells_time:
            return rate(self.pace.per_second, self.unit)
        left = clock(self.pace.seconds_left)
        return f"{rate(self.pace.per_second, self.unit)}, {left} left"


def progress(
    items: Iterable[T],
    title: str,
    total: int,
    unit: str = "images",
    on_estimate: Callable[[float], None] = lambda left: None,
) -> Iterator[T]:
    """The items, while a progress bar counts them; see `ProgressBar`.

    >>> list(progress("ab", "reading", total=2))
    ['a', 'b']
    """
    with ProgressBar(title, total, unit, on_estimate=on_estimate) as bar:
        for item in items:
            yield item
            bar.advance()
