"""Cost of attention pooling relative to average pooling, by scripts/bench_pooling.py."""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "bench_pooling.py"


def measure(options: argparse.Namespace) -> Iterator[str]:
    """The table of that script for airbench at 32 pixels and the most used poolings."""
    words = ["--backbone", "airbench", "--image_size", "32", "--min_grid", "3"]
    words += ["--batch_size", str(options.batch_size or 500), "--pairs", str(options.pairs)]
    words += ["--poolings", "global_attention", "global_local", "maximum"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=True
    )
    yield from done.stdout.splitlines()
