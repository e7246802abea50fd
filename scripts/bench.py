"""What training costs, side by side: `fit` against others, against bare loops, against the machine.

python scripts/bench.py --only loaders overhead peak --images 2000 --pairs 7

Sections are the files of scripts/speed/ that measure something. All that is compared is timed in
pairs in one process, one right after the other, in random order: medians of ratios, and quartiles.
Single times on a shared machine mean little.
"""

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import torch

from vision_attn.runs.environment import processor, versions
from vision_attn.training.lightning_cli import silence_lightning

Section = Callable[[argparse.Namespace], Iterator[str]]


def sections() -> dict[str, Section]:
    """Files of speed/ with a function `measure`, by name."""
    names = sorted(place.stem for place in (Path(__file__).parent / "speed").glob("*.py"))
    modules = {name: import_module(f"speed.{name}") for name in names}
    return {name: module.measure for name, module in modules.items() if hasattr(module, "measure")}


def machine() -> str:
    """A line on what all this ran on."""
    told = ", ".join(f"{name} {release}" for name, release in versions().items())
    load = os.getloadavg()[0]
    threads = torch.get_num_threads()
    return (
        f"{processor()}, {threads} threads, load {load:.1f}; Python {platform.python_version()}, "
        f"{told}"
    )


def main() -> None:
    """Print each section as soon as it is known."""
    known = sections()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=sorted(known), default=sorted(known), help="sections")
    add("--sizes", nargs="+", type=int, default=[32, 224], help="pixels a side")
    add("--images", type=int, default=2000, help="training images of an epoch")
    add("--batch_size", type=int, help="by itself 500 at 32 pixels, else 32")
    add("--pairs", type=int, default=7)
    add("--data", help="CIFAR-10's size as a folder, for the recipe; by itself drawn images")
    add("--counts", nargs="+", type=int, default=[1000, 10_000, 50_000], help="images, for growth")
    options = parser.parse_args()
    silence_lightning()
    warnings.simplefilter("ignore")  # what others' loaders warn of is between the lines else
    print(machine(), flush=True)
    for name in options.only:
        started = time.perf_counter()
        about = (sys.modules[f"speed.{name}"].__doc__ or "").splitlines()[0]
        print(f"\n## {name}: {about}\n")
        for line in known[name](options):
            print(line, flush=True)
        print(f"\n({time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
