"""Benchmark of explainers: their cost relative to a forward pass and to Captum's Grad-CAM.

python scripts/bench_explainers.py --image_size 224 --batch_size 32 --min_grid 7 --pairs 7

Each pair is a forward pass without gradients and an explanation of the same images, one right after
the other, in random order; the cost is the median of the ratios, and the quartiles show its
precision. The last column is measured in the same way: Captum's Grad-CAM relative to the explainer.
"""

import argparse
import statistics
import sys
from collections.abc import Callable

import torch
from pairs import Timed, ratios, seconds
from torch import Tensor

from vision_attn.core.registry import available, create_all
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.grad_cam import GradCam
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling

EXPLAINERS = "attention,evidence,contrast,grad_cam,saliency,input_x_gradient,guided_grad_cam"


def timed(work: Callable[[], object]) -> Timed:
    """A function that does the work and returns its seconds, after one warm-up call."""

    def once() -> float:
        started = seconds()
        work()
        return seconds() - started

    once()
    return once


def compared(one: Timed, other: Timed, pairs: int) -> str:
    """The ratio of the seconds of `other` to those of `one`: median and quartiles."""
    low, middle, high = statistics.quantiles(ratios(one, other, pairs), n=4)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


class Bench:
    """A model and random images to explain."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        backbone = Backbone(options.backbone)
        backbone.refine(options.image_size, options.min_grid)
        pooling = available(Pooling)[options.pooling]
        self.model = AttentionClassifier(backbone, pooling, options.classes).eval()
        self.images = torch.rand(options.batch_size, 3, options.image_size, options.image_size)
        self.targets = torch.randint(0, options.classes, (options.batch_size,))
        self.classes, self.pairs = options.classes, options.pairs
        self.forward = timed(self.plain)
        self.grad_cam = timed(lambda: GradCam()(self.model, self.images, self.targets))

    @torch.no_grad()
    def plain(self) -> Tensor:
        """A plain forward pass."""
        return self.model(self.images)

    def row(self, name: str, explainer: Explainer) -> str:
        """One row of the table."""
        target = timed(lambda: explainer(self.model, self.images, self.targets))
        cells = [compared(self.forward, target, self.pairs), self.every_class(explainer)]
        cells.append(compared(target, self.grad_cam, self.pairs))
        return f"| `{name}` | {' | '.join(cells)} |"

    def every_class(self, explainer: Explainer) -> str:
        """The cost of maps for all classes, computed as in `explain --classes`."""
        if not explainer.class_specific:
            return "the same map"
        if type(explainer).for_targets is Explainer.for_targets:
            return f"one by one: {self.classes} times as much"
        all_classes = torch.arange(self.classes).expand(len(self.images), -1)
        work = timed(lambda: explainer.for_targets(self.model, self.images, all_classes))
        return compared(self.forward, work, self.pairs)

    def one_by_one(self) -> str:
        """Captum's Grad-CAM for all classes, one class at a time."""
        every = timed(lambda: Explainer.for_every_class(GradCam(), self.model, self.images))
        cost = compared(self.forward, every, self.pairs)
        return f"| `grad_cam`, each class by itself through Captum | | {cost} | |"


def run() -> None:
    """Print a Markdown table, each row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--pooling", default="global_local")
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--min_grid", type=int, default=4)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--explainers", default=EXPLAINERS)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_default_device(options.device)
    explainers = create_all(Explainer, options.explainers.split(","), "--explainers")
    print(f"`python {' '.join(['scripts/bench_explainers.py', *sys.argv[1:]])}`")
    print("\nrelative to a plain forward pass, median (quartiles)\n")
    print(f"| map | one class | all {options.classes} classes | Captum's Grad-CAM relative to it |")
    print("|---|---|---|---|", flush=True)
    bench = Bench(options)
    for name, explainer in explainers.items():
        print(bench.row(name, explainer), flush=True)
        if name == "grad_cam":
            print(bench.one_by_one(), flush=True)


if __name__ == "__main__":
    run()
