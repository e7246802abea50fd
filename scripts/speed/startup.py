"""Start-up times of the commands: from the shell to the help text or an error message."""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator

from speed.common import spread, table

COMMANDS = {
    "vision-attn --help": ["--help"],
    "vision-attn fit --help": ["fit", "--help"],
    "vision-attn predict --help": ["predict", "--help"],
    "vision-attn fit --data nowhere": [
        "fit",
        "--data",
        "nowhere/",
    ],  # imports everything that fit needs
    "vision-attn test nowhere": ["test", "nowhere/"],
}


def measure(options: argparse.Namespace) -> Iterator[str]:
    """A table of seconds per command, and of Python alone."""
    yield from table("| command | seconds |", rows(options))


def rows(options: argparse.Namespace) -> Iterator[str]:
    """A row for each command."""
    yield f"| python -c pass | {spread([seconds(['-c', 'pass']) for _ in range(options.pairs)])} |"
    for name, words in COMMANDS.items():
        found = [seconds(["-m", "vision_attn", *words]) for _ in range(options.pairs)]
        yield f"| `{name}` | {spread(found)} |"


def seconds(words: list[str]) -> float:
    """Seconds of a Python process with these arguments."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=False)
    return time.perf_counter() - started
