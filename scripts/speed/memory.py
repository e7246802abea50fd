"""Peak memory of training, in a separate process each, beside the memory after imports."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from speed.common import SMALL, draw, table

HERE = Path(__file__).parents[1]
SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from speed import loaders
from speed.ours import Fit, words
from speed.common import peak_memory
from vision_attn.training.lightning_messages import silence_lightning
silence_lightning()
before = peak_memory()
folder, size, batch = Path({folder!r}), {size}, {batch}
{train}
print(before, peak_memory())
"""
TRAININGS = {"`fit`": "Fit(folder, words(size, batch))()"} | {
    f"{name}, its best": f"loaders.CONTENDERS[{name!r}](folder, size, batch, True)()"
    for name in ("plain Lightning", "timm's loader")
}


def measure(options: argparse.Namespace) -> Iterator[str]:
    """A table of peak memory; worker processes are not counted."""
    yield from table("| at | training | imports, MiB | peak, MiB |", rows(options))


def rows(options: argparse.Namespace) -> Iterator[str]:
    """A row for each size and trainer."""
    for size in options.sizes:
        batch = options.batch_size or (500 if size == SMALL else 32)
        folder = draw(Path(tempfile.mkdtemp()), options.images, size)
        for name, train in TRAININGS.items():
            text = SCRIPT.format(
                here=str(HERE), folder=str(folder), size=size, batch=batch, train=train
            )
            done = subprocess.run(
                [sys.executable, "-c", text], capture_output=True, text=True, check=True
            )
            before, peak = map(float, done.stdout.split()[-2:])
            yield f"| {size} px | {name} | {before:.0f} | {peak:.0f} |"
