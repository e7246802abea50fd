"""Estimate how long work takes from how fast its first items went on this machine."""

import time

MEASURED = 3.0  # seconds over which the speed is measured before the time is estimated
SHORT = 5.0  # seconds: if less is left, no estimate is printed
BURST = 0.1  # seconds: items this soon after the first belong to the same batch


class Pace:
    """Measures the speed of work that is a number of similar items, and the time left.

    The first item, or batch of items, is not measured: it loads code, starts worker processes and
    fills caches.

    Args:
        total: how many items there are.
        done: how many items were done before, in an interrupted run.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self.total = total
        self.done = done
        self.started = time.monotonic()
        self.first: tuple[float, int] | None = None  # when the first item was done, and the count
        self.last = self.started

    def advance(self, count: int = 1) -> None:
        """Count items that are done."""
        self.done += count
        self.last = time.monotonic()
        if self.first is None or self.last - self.first[0] < BURST:
            then = self.last if self.first is None else self.first[0]
            self.first = (then, self.done)

    @property
    def is_measured(self) -> bool:
        """Whether enough items were measured for an estimate."""
        if self.first is None:
            return False
        then, count = self.first
        return self.done > count and self.last - then >= MEASURED

    @property
    def per_second(self) -> float:
        """Items per second since the first one; 0 before a second one is done."""
        if self.first is None or self.done == self.first[1]:
            return 0.0
        then, count = self.first
        return (self.done - count) / max(self.last - then, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Estimated seconds from now to the end; infinite before a second item is done."""
        speed = self.per_second
        if not speed:
            return float("inf")
        waited = time.monotonic() - self.last
        return max((self.total - self.done) / speed - waited, 0.0)

    @property
    def seconds(self) -> float:
        """Estimated seconds of the whole work, from the start of this process's share."""
        return time.monotonic() - self.started + self.seconds_left


def clock(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds.

    >>> clock(75), clock(3700), clock(float("inf"))
    ('1:15', '1:01:40', '--:--')
    """
    if seconds == float("inf"):
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate(per_second: float, unit: str) -> str:
    """Format a speed; slow ones are per minute, so that it never reads 0 per second.

    >>> rate(640.4, "images"), rate(2.25, "batches"), rate(0.09, "fits")
    ('640 images/s', '2.2 batches/s', '5.4 fits/min')
    """
    if per_second < 1:
        return f"{60 * per_second:.1f} {unit}/min"
    return f"{per_second:.0f} {unit}/s" if per_second >= 10 else f"{per_second:.1f} {unit}/s"
