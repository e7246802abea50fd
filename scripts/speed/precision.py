"""Training steps and forward passes in float32 and bf16, with both memory layouts, per network.

Ratios are to float32 with channels last, in pairs; the last column is what `fit` would choose, and
its cost relative to the best of the four.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from pairs import ratios
from speed.common import table
from torch import nn
from torch.nn.functional import cross_entropy

from vision_attn.models.backbone import Backbone
from vision_attn.training.precision import precision_for

NETWORKS = (
    "tf_efficientnet_lite0", "mobilenetv3_small_100", "convnext_atto", "resnet18", "resnet10t",
)  # fmt: skip
SIDE, BATCH = 128, 16
LAYOUTS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
Seconds = Callable[[], float]


def measure(options: argparse.Namespace) -> Iterator[str]:
    """A table for training steps and one for forward passes."""
    for training in (True, False):
        yield "training steps" if training else "forward passes"
        yield from table(
            "| network | bf16 | contiguous | bf16, contiguous | chosen |",
            (row(name, training, options.pairs) for name in NETWORKS),
        )


def row(name: str, training: bool, pairs: int) -> str:
    """The ratios of one network, as a row of the table."""
    base = seconds_of(name, False, "channels last", training)
    found = {("32-true", "channels last"): 1.0}
    for in_bf16, layout in ((True, "channels last"), (False, "contiguous"), (True, "contiguous")):
        other = seconds_of(name, in_bf16, layout, training)
        key = ("bf16-mixed" if in_bf16 else "32-true", layout)
        found[key] = statistics.median(ratios(base, other, pairs))
    chosen = precision_for(Backbone(name), "cpu", training)
    cost = found[chosen, "channels last"] / min(found.values())
    columns = " | ".join(f"{ratio:.2f}" for ratio in list(found.values())[1:])
    return f"| {name} | {columns} | {chosen}, {cost:.2f} of the best |"


def seconds_of(name: str, in_bf16: bool, layout: str, training: bool) -> Seconds:
    """A function that returns the seconds of a step or of a forward pass."""
    torch.manual_seed(0)
    net = nn.Sequential(Backbone(name), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(10))
    images = torch.rand(BATCH, 3, SIDE, SIDE).contiguous(memory_format=LAYOUTS[layout])
    net(images)
    net = net.to(memory_format=LAYOUTS[layout]).train(training)
    targets = torch.arange(BATCH) % 10

    def once() -> float:
        started = time.perf_counter()
        with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16, in_bf16):
            logits = net(images)
        if training:
            cross_entropy(logits.float(), targets).backward()
            net.zero_grad()
        return time.perf_counter() - started

    for _ in range(2):
        once()
    return once
