"""Whether an exported model says what the model says: on real images, in batches of any size."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vision_attn.export.base import OUTPUTS, Run

BATCH_SIZES = (1, 3)  # and then larger ones
LARGEST_BATCH = 16
NUDGE = 1e-6  # of the way from black to white: 1/4000 of one step of a byte
NUDGES = 16
MAY_JUMP = ("attention", "evidence")
MOST_UNDECIDED = 0.05  # share of an output's values


@dataclass
class ParityReport:
    """How far two models differ.

    Attributes:
        largest: of each output, the largest difference of any value.
        undecided: of each output, how many values are left out, and of how many.
        images: how many images were compared.
    """

    largest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OUTPUTS, 0.0))
    undecided: dict[str, tuple[int, int]] = field(
        default_factory=lambda: dict.fromkeys(OUTPUTS, (0, 0))
    )
    images: int = 0

    def failures(self, tolerance: float) -> list[str]:
        """Outputs that differ by more, or of which too much is left out, each told in a line."""
        told = [
            f"{name} differs by {most:.1e}, more than {tolerance:.0e}"
            for name, most in self.largest.items()
            if not most <= tolerance  # so that NaN fails
        ]
        for name, (left_out, total) in self.undecided.items():
            if left_out > MOST_UNDECIDED * total:
                told.append(f"{left_out} of {total} values of {name} hang on rounding")
        return told

    def lines(self) -> list[str]:
        """Lines for the user: how far the two models differ."""
        worst = ", ".join(f"{name} {most:.1e}" for name, most in self.largest.items())
        return [
            f"differs    by at most: {worst}",
            *(
                f"left out   {left_out} of {total} values of {name}: the model's own value jumps "
                "there when pixels change by a millionth"
                for name, (left_out, total) in self.undecided.items()
                if left_out
            ),
        ]


@torch.no_grad()
def compare(
    model: Run, other: Run, images: Tensor, any_size: bool, tolerance: float
) -> ParityReport:
    """Run both on the same images, and take the largest differences.

    Hard attention (the largest of all places takes all) jumps where two places tie but for
    rounding, and no two machines round alike. So a value of attention or evidence that differs is
    left out, and counted, if the model's own value moves by more than the tolerance when pixels
    move by a millionth. Logits and probabilities have no such excuse.

    Args:
        model: the model itself.
        other: what was exported.
        images: (N, 3, H, W) in [0, 1].
        any_size: whether to compare on a few images of another height and width, too.
        tolerance: the difference from which on a value is looked at twice.
    """
    found = ParityReport()
    for batch in batches(images, any_size):
        ours, theirs = model(batch), other(batch)
        off = {name: difference(ours[name], theirs[name]) for name in OUTPUTS}
        if any((off[name] > tolerance).any() for name in MAY_JUMP):
            for name, jumps in undecided(model, batch, tolerance).items():
                left_out = jumps & (off[name] > tolerance)
                off[name] = off[name].masked_fill(left_out, 0)
                count, total = found.undecided[name]
                found.undecided[name] = (count + int(left_out.sum()), total)
        for name, values in off.items():
            found.largest[name] = larger(found.largest[name], values)
            count, total = found.undecided[name]
            found.undecided[name] = (count, total + values.numel())
    found.images = len(images)
    return found


def batches(images: Tensor, any_size: bool) -> Iterator[Tensor]:
    """All images, in batches of 1, of 3 and of more; then a few of another shape."""
    least = sum(BATCH_SIZES)
    shown = images.repeat(-(-least // len(images)), 1, 1, 1) if len(images) < least else images
    first, second, rest = shown.split([*BATCH_SIZES, len(shown) - least])
    yield first
    yield second
    if len(rest):
        yield from rest.split(LARGEST_BATCH)
    if any_size:
        height, width = images.shape[-2:]
        yield interpolate(second, (height + 32, width + 64), mode="bilinear")


def difference(ours: Tensor, theirs: Tensor) -> Tensor:
    """The absolute difference of each value; infinite throughout where shapes differ."""
    if ours.shape != theirs.shape:
        return torch.full_like(ours, torch.inf)
    return (ours - theirs).abs()


def larger(most: float, values: Tensor) -> float:
    """The larger one of a number and the largest of values; NaN wins, which Python's max forgets.

    >>> larger(2.0, torch.tensor([1.0, 3.0])), larger(2.0, torch.tensor([torch.nan]))
    (3.0, nan)
    """
    return float(torch.cat([values.flatten(), torch.tensor([most])]).max())


def undecided(model: Run, images: Tensor, tolerance: float) -> dict[str, Tensor]:
    """Which values of attention and evidence jump when pixels move by a millionth."""
    generator = torch.Generator().manual_seed(0)
    lowest, highest = model(images), model(images)
    for _ in range(NUDGES):
        nudged = images + NUDGE * torch.randn(images.shape, generator=generator)
        for name, values in model(nudged).items():
            lowest[name] = torch.minimum(lowest[name], values)
            highest[name] = torch.maximum(highest[name], values)
    return {name: highest[name] - lowest[name] > tolerance for name in MAY_JUMP}
