"""Map a function over many items in several threads: in order, and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from os import cpu_count
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
AHEAD = 256  # computed results that are not yet taken


def threaded_map(function: Callable[[S], T], items: Iterable[S], ahead: int = AHEAD) -> Iterator[T]:
    """The function's results in the order of the items; at most `ahead` are not yet taken.

    Decoding images releases the GIL, so threads are enough and no results are pickled.

    >>> list(threaded_map(len, ["a", "bcd"]))
    [1, 3]
    """
    rest = iter(items)
    with ThreadPoolExecutor(cpu_count()) as pool:
        try:
            waiting: deque[Future[T]] = deque(
                pool.submit(function, item) for item in islice(rest, ahead)
            )
            while waiting:
                yield waiting.popleft().result()
                waiting += [pool.submit(function, item) for item in islice(rest, 1)]
        finally:  # also if the caller stops early
            pool.shutdown(cancel_futures=True)
