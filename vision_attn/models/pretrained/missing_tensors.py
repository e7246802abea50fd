"""Notice tensors of a network that pretrained weights lack: timm leaves them at random values."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from vision_attn.core.terminal import say

LOADER = "timm.models._builder"
MISSING = "Missing keys ("
"""The start of timm's message on such tensors; it is logged, and neither raised nor returned."""
MOST_LISTED = 3


class Recorder(logging.Handler):
    """Collects the names of the tensors that timm reports as missing."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take the names out of a message."""
        message = record.getMessage()
        if message.startswith(MISSING):
            self.names += message.removeprefix(MISSING).partition(")")[0].split(", ")


@contextmanager
def missing_tensors() -> Iterator[list[str]]:
    """A context in which timm loads weights; gives the names of tensors that were not in them."""
    logger, recorder = logging.getLogger(LOADER), Recorder()
    level, propagates = logger.level, logger.propagate
    logger.addHandler(recorder)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # unexpected keys are usual: the classifier that is left out
    try:
        yield recorder.names
    finally:
        logger.removeHandler(recorder)
        logger.setLevel(level)
        logger.propagate = propagates


def check_missing(missing: list[str], net: nn.Module) -> None:
    """Report tensors that pretrained weights lack; refuse weights that lack most of them.

    Raises:
        ValueError: they are weights of another network.
    """
    total = len(net.state_dict())
    if len(missing) > total / 2:
        raise ValueError(f"they lack {len(missing)} of its {total} tensors, such as {missing[0]}")
    if missing:
        more = " and more" if len(missing) > MOST_LISTED else ""
        listed = ", ".join(missing[:MOST_LISTED]) + more
        say(f"weights   {len(missing)} of {total} tensors start at random values: {listed}")
