"""Does the same to many files, on all cores, with a bar on a terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")
AT_ONCE = 64  # files of one task: little is queued, and threads change hands seldom


def for_each(function: Callable[[str], T], paths: Sequence[str], title: str) -> Iterator[T]:
    """The function's results, in the order of the files.

    >>> list(for_each(len, ["a", "bcd"], "counting"))
    [1, 3]
    """

    def for_some(part: Sequence[str]) -> list[T]:
        return [function(path) for path in part]

    parts = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
    console = Console(stderr=True)
    with (
        ThreadPoolExecutor(cpu_count()) as pool,
        Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar,
    ):
        task = bar.add_task(title, total=len(paths))
        for results in pool.map(for_some, parts):
            yield from results
            bar.advance(task, len(results))
