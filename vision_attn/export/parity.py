"""Parity check of an exported model: compare its outputs with the model's on real images."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vision_attn.export.base import OUTPUTS, RunModel

BATCH_SIZES = (1, 3)  # of the first batches; the others are larger
LARGEST_BATCH = 16
NOISE = 1e-6  # standard deviation, for pixels in [0, 1]: 1/4000 of one 8-bit step
NOISE_SAMPLES = 16
MAY_BE_UNSTABLE = ("attention", "evidence")
MOST_UNSTABLE = 0.05  # share of an output's values


@dataclass
class ParityReport:
    """The largest differences between the outputs of two models.

    Attributes:
        largest: for each output, the largest difference of any value.
        unstable: for each output, how many values are left out, and how many there are.
        images: how many images were compared.
    """

    largest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OUTPUTS, 0.0))
    unstable: dict[str, tuple[int, int]] = field(
        default_factory=lambda: dict.fromkeys(OUTPUTS, (0, 0))
    )
    images: int = 0

    def failures(self, tolerance: float) -> list[str]:
        """One line per output that differs too much, or has too many values left out."""
        failed = [
            f"{name} differs by {most:.1e}, more than {tolerance:.0e}"
            for name, most in self.largest.items()
            if not most <= tolerance  # so that NaN fails
        ]
        for name, (left_out, total) in self.unstable.items():
            if left_out > MOST_UNSTABLE * total:
                failed.append(f"{left_out} of {total} values of {name} depend on rounding")
        return failed

    def lines(self) -> list[str]:
        """Lines for the user: how much the two models differ."""
        worst = ", ".join(f"{name} {most:.1e}" for name, most in self.largest.items())
        return [
            f"differs    by at most: {worst}",
            *(
                f"left out   {left_out} of {total} values of {name}: the model's own value jumps "
                "there when pixels change by a millionth"
                for name, (left_out, total) in self.unstable.items()
                if left_out
            ),
        ]


@torch.no_grad()
def compare(
    model: RunModel, other: RunModel, images: Tensor, any_size: bool, tolerance: float
) -> ParityReport:
    """Run two models on the same images and return the largest differences of their outputs.

    Hard attention (all weight on the largest place) jumps where two places are equal up to
    rounding, and rounding differs between machines. So a value of attention or evidence that
    differs is left out, and counted, if the model's own value changes by more than the tolerance
    when pixels change by a millionth. Logits and probabilities are never left out.

    Args:
        model: the model itself.
        other: the exported model.
        images: (N, 3, H, W) in [0, 1].
        any_size: whether to compare on a few images of another height and width as well.
        tolerance: differences above this are checked for instability.
    """
    report = ParityReport()
    for batch in batches(images, any_size):
        ours, theirs = model(batch), other(batch)
        differences = {name: difference(ours[name], theirs[name]) for name in OUTPUTS}
        if any((differences[name] > tolerance).any() for name in MAY_BE_UNSTABLE):
            for name, jumps in unstable(model, batch, tolerance).items():
                left_out = jumps & (differences[name] > tolerance)
                differences[name] = differences[name].masked_fill(left_out, 0)
                count, total = report.unstable[name]
                report.unstable[name] = (count + int(left_out.sum()), total)
        for name, values in differences.items():
            report.largest[name] = larger(report.largest[name], values)
            count, total = report.unstable[name]
            report.unstable[name] = (count, total + values.numel())
    report.images = len(images)
    return report


def batches(images: Tensor, any_size: bool) -> Iterator[Tensor]:
    """All images in batches of 1, 3 and up to 16; then a few images of another shape."""
    smallest = sum(BATCH_SIZES)
    shown = (
        images.repeat(-(-smallest // len(images)), 1, 1, 1) if len(images) < smallest else images
    )
    first, second, rest = shown.split([*BATCH_SIZES, len(shown) - smallest])
    yield first
    yield second
    if len(rest):
        yield from rest.split(LARGEST_BATCH)
    if any_size:
        height, width = images.shape[-2:]
        yield interpolate(second, (height + 32, width + 64), mode="bilinear")


def difference(ours: Tensor, theirs: Tensor) -> Tensor:
    """The absolute difference of each value; all infinite if the shapes differ."""
    if ours.shape != theirs.shape:
        return torch.full_like(ours, torch.inf)
    return (ours - theirs).abs()


def larger(most: float, values: Tensor) -> float:
    """The maximum of a number and of values; NaN if any is NaN (unlike Python's max).

    >>> larger(2.0, torch.tensor([1.0, 3.0])), larger(2.0, torch.tensor([torch.nan]))
    (3.0, nan)
    """
    return float(torch.cat([values.flatten(), torch.tensor([most])]).max())


def unstable(model: RunModel, images: Tensor, tolerance: float) -> dict[str, Tensor]:
    """Which values of attention and evidence jump when pixels change by a millionth."""
    generator = torch.Generator().manual_seed(0)
    lowest, highest = model(images), model(images)
    for _ in range(NOISE_SAMPLES):
        noisy = images + NOISE * torch.randn(images.shape, generator=generator)
        for name, values in model(noisy).items():
            lowest[name] = torch.minimum(lowest[name], values)
            highest[name] = torch.maximum(highest[name], values)
    return {name: highest[name] - lowest[name] > tolerance for name in MAY_BE_UNSTABLE}
