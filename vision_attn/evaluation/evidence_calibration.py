"""Write and describe the calibration of evidence, `evidence_calibration.png`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from vision_attn.core.atomic import atomic_write
from vision_attn.metrics.evidence_calibration import (
    CellEffects,
    calibration,
    calibration_intervals,
)
from vision_attn.visualization.calibration_chart import calibration_chart

FILE = "evidence_calibration.png"


class Estimate(TypedDict):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class CalibrationSummary(TypedDict):
    """The calibration of a set of images, as in `evaluation.json`.

    `estimates` has the fields of `metrics.evidence_calibration.Calibration`.
    """

    images: int
    cells: int
    estimates: dict[str, Estimate]


def about(effects: CellEffects) -> CalibrationSummary:
    """Measure slope, R^2 and errors, with intervals over images."""
    values, intervals = calibration(effects)._asdict(), calibration_intervals(effects)
    estimates = {
        name: Estimate(value=value, low=intervals[name].low, high=intervals[name].high)
        for name, value in values.items()
    }
    images, cells = effects.said.shape
    return CalibrationSummary(images=images, cells=images * cells, estimates=estimates)


def sentences(summary: CalibrationSummary) -> tuple[str, str]:
    """What was measured, in two sentences.

    >>> each = Estimate(value=0.5, low=0.4, high=0.75)
    >>> names = ("slope", "r2", "median_error", "stays", "spills")
    >>> first, _ = sentences({"images": 9, "cells": 144, "estimates": dict.fromkeys(names, each)})
    >>> first[:84]
    'evidence against the effect of deleting each of 144 cells: slope 0.50 (0.40 to 0.75)'
    """
    written = {
        name: f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
        for name, found in summary["estimates"].items()
    }
    return (
        f"evidence against the effect of deleting each of {summary['cells']:,} cells: "
        f"slope {written['slope']}, R^2 {written['r2']}, "
        f"median error {written['median_error']} logits; in parentheses 95 % intervals",
        f"of the error, {written['stays']} logits stay in the deleted cell and "
        f"{written['spills']} spill to others (medians)",
    )


def describe(summary: CalibrationSummary) -> Iterator[str]:
    """Two lines for the terminal."""
    first, second = sentences(summary)
    yield f"calibrated {first}"
    yield f"           {second}"


def draw(out: Path, effects: CellEffects) -> None:
    """Draw the measured effect of each cell over the evidence in it."""
    said, measured = (
        values.flatten().double().cpu().numpy() for values in (effects.said, effects.measured)
    )
    figure = calibration_chart(said, measured)
    atomic_write(out / FILE, lambda path: figure.savefig(path, format="png", dpi=150))
