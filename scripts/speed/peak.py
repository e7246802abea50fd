"""FLOP/s of an airbench training step as a share of the machine's peak, with a profile.

The peak is the fastest of several products of square matrices, in bf16 and in float32. The FLOPs of
a training step are three times those of a forward pass (Kaplan et al. 2020), counted by torch. Each
convolution is also timed separately: forward, gradient by input, gradient by filters.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from speed.common import SMALL, network, spread, table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from vision_attn.training.duration import training_flops

SIDES = (512, 1024, 2048, 4096)
KINDS = {
    "convolution": "convolution",
    "gelu": "activation (GELU)",
    "batch_norm": "batch norm",
    "pool": "max pooling",
    "copy": "copies and casts",
    "fill": "zeroing",
}


def measure(options: argparse.Namespace) -> Iterator[str]:
    """The peak, the step's share of it, the profile, and a table of convolutions."""
    batch = options.batch_size or 500
    for dtype in (torch.bfloat16, torch.float32):
        best = peak(dtype)
        step = training_step(batch, dtype)
        seconds = [step() for _ in range(options.pairs)]
        work = training_flops(network(SMALL, "global_attention"), SMALL)
        rates = [work * batch / one for one in seconds]
        yield (
            f"{dtype}: peak {best / 1e9:.0f} GFLOP/s; a training step "
            f"{spread([rate / 1e9 for rate in rates], 0)} GFLOP/s, "
            f"{statistics.median(rates) / best:.0%} of it"
        )
        yield from shares(step)
        yield from table(
            "| convolution | forward | gradient by input | by filters |",
            convolutions(batch, dtype, best),
        )


def peak(dtype: torch.dtype) -> float:
    """FLOP/s of the fastest matrix product."""
    found = 0.0
    for side in SIDES:
        one, other = torch.rand(2, side, side).to(dtype)
        found = max(found, 2 * side**3 / fastest(lambda one=one, other=other: one @ other))
    return found


def training_step(batch: int, dtype: torch.dtype) -> Callable[[], float]:
    """A function that does one training step of airbench and returns its seconds."""
    net = network(SMALL, "global_attention")
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.01)
    images, targets = torch.rand(batch, 3, SMALL, SMALL), torch.arange(batch) % 10

    def step() -> float:
        started = time.perf_counter()
        loss = cross_entropy(logits(net, images, dtype), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - started

    step()
    return step


def logits(net: nn.Module, images: Tensor, dtype: torch.dtype) -> Tensor:
    """The logits of a network, computed in bf16 autocast or in float32."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        return net(images)


def shares(step: Callable[[], float]) -> Iterator[str]:
    """One line per kind of operation, with its share of the time of a step."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    spent: Counter[str] = Counter()
    for event in profiled.key_averages():
        kinds = [kind for part, kind in KINDS.items() if part in event.key]
        spent[kinds[0] if kinds else "everything else"] += event.self_cpu_time_total
    total = sum(spent.values())
    for kind, microseconds in spent.most_common():
        yield f"- {kind}: {microseconds / total:.0%}"


def convolutions(batch: int, dtype: torch.dtype, best: float) -> Iterator[str]:
    """A row for each convolution: FLOP/s of its three parts, as shares of the peak."""
    net = network(SMALL)
    seen: list[tuple[nn.Conv2d, torch.Size]] = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(
                lambda module, inputs: seen.append((module, inputs[0].shape))
            )
    net(torch.rand(1, 3, SMALL, SMALL))
    for layer, (_, before, height, width) in seen:
        images = torch.rand(batch, before, height, width, dtype=dtype)
        images = images.contiguous(memory_format=torch.channels_last)
        filters = layer.weight.detach().to(dtype)
        work = 2 * batch * height * width * filters.numel()
        parts = [f"{work / seconds / best:.0%}" for seconds in times(images, filters)]
        name = f"{before} to {layer.out_channels} channels on {height} x {width}"
        yield f"| {name} | {' | '.join(parts)} |"


def times(images: Tensor, filters: Tensor) -> list[float]:
    """Seconds of a convolution, and of its gradients by its input and by its filters."""
    padding = [filters.shape[-1] // 2] * 2
    out = torch.conv2d(images, filters, padding=padding)

    def gradients(needed: list[bool]) -> None:
        torch.ops.aten.convolution_backward(
            out, images, filters, None, [1, 1], padding, [1, 1], False, [0, 0], 1, needed
        )

    return [
        fastest(lambda: torch.conv2d(images, filters, padding=padding)),
        fastest(lambda: gradients([True, False, False])),
        fastest(lambda: gradients([False, True, False])),
    ]


def fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of five calls."""
    run()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
