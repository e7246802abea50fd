"""Benchmark of poolings: the cost of training and inference relative to average pooling.

python scripts/bench_pooling.py --image_size 64 --batch_size 128 --pairs 15

Each pair is one step with average pooling and one with the other pooling, one right after the
other, in random order; the cost is the median of the ratios. Shared machines are noisy: single
times mean little, and the quartiles show how precise the ratios are. `--device cuda` measures on a
GPU.
"""

import argparse
import statistics

import torch
from pairs import Timed, ratios, seconds
from torch.nn.functional import cross_entropy

from vision_attn.core.registry import available
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling

CLASSES = 20


def steps(pooling: type[Pooling], options: argparse.Namespace) -> tuple[Timed, Timed]:
    """Two functions: one training step and one forward pass; both return their seconds."""
    torch.manual_seed(0)
    backbone = Backbone(options.backbone)
    backbone.refine(options.image_size, options.min_grid)
    model = AttentionClassifier(backbone, pooling, CLASSES)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    images = torch.rand(options.batch_size, 3, options.image_size, options.image_size)
    targets = torch.randint(0, CLASSES, (options.batch_size,))

    def train() -> float:
        model.train()
        started = seconds()
        with torch.autocast(options.device, dtype=torch.bfloat16):
            loss = cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return seconds() - started

    @torch.no_grad()
    def infer() -> float:
        model.eval()
        started = seconds()
        with torch.autocast(options.device, dtype=torch.bfloat16):
            model(images)
        return seconds() - started

    train(), infer()  # warm up: choose kernels and allocate memory
    return train, infer


def run() -> None:
    """Print a Markdown table, each row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--min_grid", type=int, default=7)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--poolings", nargs="*", default=None)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_default_device(options.device)
    poolings = available(Pooling)
    average = steps(poolings["average"], options)
    print("relative to average pooling, median (quartiles)\n")
    print("| pooling | training step | inference |")
    print("|---|---|---|", flush=True)
    for name in options.poolings or [name for name in poolings if name != "average"]:
        cells = []
        for base, other in zip(average, steps(poolings[name], options), strict=True):
            low, middle, high = statistics.quantiles(ratios(base, other, options.pairs), n=4)
            cells.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    run()
