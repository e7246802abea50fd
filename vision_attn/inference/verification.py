"""Verify an evidence map on its own image: delete its strongest cells and measure the logit."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from vision_attn.metrics.evidence_calibration import SIDE, effects_in_batch
from vision_attn.models.classifier import AttentionClassifier

CELLS = 3  # number of the strongest cells that are deleted, per image


class VerifiedCell(NamedTuple):
    """One of the 4x4 cells of an image: its evidence, and the effect of deleting it, in logits.

    Attributes:
        row: from 0, from the top.
        column: from 0, from the left.
        said: the evidence in the cell.
        measured: the drop of the logit when the cell has the mean color.
    """

    row: int
    column: int
    said: float
    measured: float


@torch.no_grad()
def verify(model: AttentionClassifier, images: Tensor, targets: Tensor) -> list[list[VerifiedCell]]:
    """Delete the strongest cells of each image and measure the logit; takes 17 forward passes.

    Args:
        model: in eval mode.
        images: (B, 3, H, W) in [0, 1].
        targets: (B,), the explained classes.
    """
    effects = effects_in_batch(model, images, targets)
    strongest = effects.said.abs().topk(CELLS).indices
    return [
        [
            VerifiedCell(
                cell // SIDE,
                cell % SIDE,
                float(effects.said[image, cell]),
                float(effects.measured[image, cell]),
            )
            for cell in cells
        ]
        for image, cells in enumerate(strongest.tolist())
    ]


def describe(cells: Sequence[VerifiedCell]) -> str:
    """What a sheet says of its verified cells.

    >>> describe([VerifiedCell(1, 2, 2.14, 1.9), VerifiedCell(1, 1, 1.0, -0.26)])
    'strongest of 4x4 cells: evidence +2.1, +1.0; the logit drops by +1.9, -0.3 without each'
    """
    said = ", ".join(f"{cell.said:+.1f}" for cell in cells)
    measured = ", ".join(f"{cell.measured:+.1f}" for cell in cells)
    return (
        f"strongest of {SIDE}x{SIDE} cells: evidence {said}; "
        f"the logit drops by {measured} without each"
    )


def describe_all(cells: Sequence[VerifiedCell]) -> str:
    """The error over the verified cells of all images.

    >>> describe_all([VerifiedCell(1, 2, 2.0, 1.5), VerifiedCell(0, 0, 1.0, 1.1)])
    'strongest cells of 4x4 deleted, 2 in all: evidence is off by 0.30 logits (median)'
    """
    error = median(abs(cell.said - cell.measured) for cell in cells)
    return (
        f"strongest cells of {SIDE}x{SIDE} deleted, {len(cells)} in all: "
        f"evidence is off by {error:.2f} logits (median)"
    )
