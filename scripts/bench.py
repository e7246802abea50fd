"""Benchmark of training: `fit` against other trainers, bare loops and the peak of the machine.

python scripts/bench.py --only loaders overhead peak --images 2000 --pairs 7

Each section is a file of scripts/speed/ that has a function `measure`. Compared code is timed in
pairs in one process, one right after the other, in random order; results are medians and quartiles
of the ratios, because single times on a shared machine mean little.
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
from vision_attn.training.lightning_messages import silence_lightning

Section = Callable[[argparse.Namespace], Iterator[str]]


def sections() -> dict[str, Section]:
    """The `measure` functions of the files of speed/, by file name."""
    names = sorted(path.stem for path in (Path(__file__).parent / "speed").glob("*.py"))
    modules = {name: import_module(f"speed.{name}") for name in names}
    return {name: module.measure for name, module in modules.items() if hasattr(module, "measure")}


def machine() -> str:
    """One line on the processor, threads, load and library versions."""
    libraries = ", ".join(f"{name} {release}" for name, release in versions().items())
    load = os.getloadavg()[0]
    threads = torch.get_num_threads()
    return (
        f"{processor()}, {threads} threads, load {load:.1f}; Python {platform.python_version()}, "
        f"{libraries}"
    )


def main() -> None:
    """Print each section as soon as it is measured."""
    known = sections()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=sorted(known), default=sorted(known), help="sections")
    add("--sizes", nargs="+", type=int, default=[32, 224], help="height and width in pixels")
    add("--images", type=int, default=2000, help="training images per epoch")
    add("--batch_size", type=int, help="(500 at 32 pixels, else 32)")
    add("--pairs", type=int, default=7)
    add("--data", help="a folder of CIFAR-10's size for the recipe (random images)")
    add("--counts", nargs="+", type=int, default=[1000, 10_000, 50_000], help="images, for growth")
    options = parser.parse_args()
    silence_lightning()
    warnings.simplefilter("ignore")  # other libraries' warnings would be printed inside the tables
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
