"""Progress of long work: a bar on a terminal or in a notebook, plain lines everywhere else."""

import time
from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vision_attn.core.terminal import printable, say

T = TypeVar("T")
LINE_EVERY = 30.0  # seconds between plain lines
UPDATE_EVERY = 0.2  # seconds between updates of the bar


class ProgressBar:
    """Shows how much is done, how fast it goes and how long it will take.

    Args:
        title: the name of the work.
        total: how many items there are.
        unit: what the items are.
        done: how many items were done before, in an interrupted run.
    """

    def __init__(self, title: str, total: int, unit: str = "images", done: int = 0) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = self.before = done
        self.started = self.shown_at = time.monotonic()
        console = Console(stderr=True)
        self.drawn = console.is_terminal or console.is_jupyter
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}", markup=False), TimeRemainingColumn(),
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
        self.done += count
        now = time.monotonic()
        if now - self.shown_at < (UPDATE_EVERY if self.drawn else LINE_EVERY):
            return
        self.shown_at = now
        if self.drawn:
            self.bar.update(self.task, completed=self.done, speed=self.speed())
        else:
            shown = f"{self.done:,} of {self.total:,} {self.unit}, {self.speed()}"
            say(f"{self.title}: {shown}", error=True)

    def rename(self, title: str) -> None:
        """Change the title."""
        self.title = title
        self.bar.update(self.task, description=printable(title), completed=self.done)
        if not self.drawn:
            say(title, error=True)

    def speed(self) -> str:
        """Items per second since the start."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        return f"{(self.done - self.before) / seconds:.0f} {self.unit}/s"


def progress(items: Iterable[T], title: str, total: int, unit: str = "images") -> Iterator[T]:
    """The items, while a progress bar counts them.

    >>> list(progress("ab", "reading", total=2))
    ['a', 'b']
    """
    with ProgressBar(title, total, unit) as bar:
        for item in items:
            yield item
            bar.advance()
