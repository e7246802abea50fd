"""The time limit of a training (`--max_minutes`): what still fits into it, and what is left out."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from vision_attn.core.errors import UserError
from vision_attn.core.pace import clock


class OutOfTime(Exception):
    """There is no time left for a part of the training that can be left out."""


class Deadline:
    """When a training has to be complete, by a clock.

    It only ever makes a training shorter: whether attention is trained, how many steps, how long
    the report takes. Without a limit nothing depends on the time.

    Args:
        minutes: from its start on; infinite without a limit.
        started: when the command started, by `time.monotonic`; None is now.

    Attributes:
        closing: estimated seconds of what follows the training: calibration and the final scores.
            They are not available to the stages before.
        reading: estimated seconds for reading the images that are only scored; part of `closing`.

    Raises:
        UserError: it is not a number above 0.
    """

    def __init__(self, minutes: float = math.inf, started: float | None = None) -> None:
        if not minutes > 0:
            raise UserError(
                f"--max_minutes {minutes:g} is not a time limit: set a number above 0, or leave it "
                "out."
            )
        self.minutes = minutes
        self.ends = (time.monotonic() if started is None else started) + 60 * minutes
        self.closing = 0.0
        self.reading = 0.0

    @property
    def is_set(self) -> bool:
        """Whether there is a limit.

        >>> Deadline().is_set, Deadline(0.5).is_set
        (False, True)
        """
        return math.isfinite(self.minutes)

    @property
    def seconds_left(self) -> float:
        """Seconds from now to the end, without those of the closing; negative when it is over."""
        return self.ends - time.monotonic() - self.closing

    def check_settings(self, trainer: Mapping[str, Any]) -> None:
        """Refuse settings of the trainer that ask for a smallest length.

        Raises:
            UserError: naming the setting.
        """
        for name in ("min_epochs", "min_steps"):
            if self.is_set and trainer.get(name):
                raise UserError(
                    f"--trainer.{name} {trainer[name]} contradicts --max_minutes; leave one out."
                )

    def require(self, what: str) -> Callable[[float], None]:
        """A check that a stage that cannot be cut short fits, by its estimated seconds.

        Args:
            what: the stage, for the message.

        Raises:
            UserError: by the check, if it does not fit.
        """

        def check(seconds: float) -> None:
            if seconds > self.seconds_left:
                left = clock(max(self.seconds_left, 0.0))
                raise UserError(
                    f"--max_minutes {self.minutes:g}: {what} would take {clock(seconds)} more, and "
                    f"{left} is left; give more time, or set a smaller --image_size."
                )

        return check

    def checked(self, advance: Callable[[], None]) -> Callable[[], None]:
        """A function that also stops work that can be left out, when the time is over.

        Raises:
            OutOfTime: by the function.
        """

        def step() -> None:
            advance()
            if self.seconds_left < 0:
                raise OutOfTime

        return step
