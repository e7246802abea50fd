"""Calibration of evidence: against loops over cells, and against SciPy's regression."""

import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from scipy.stats import linregress
from torch import Tensor, nn

from vision_attn.evaluation.benchmark import evaluate_explainer, prepare
from vision_attn.evaluation.evidence_calibration import about, describe
from vision_attn.explainers.center import Center
from vision_attn.explainers.random import Random
from vision_attn.metrics.evidence_calibration import (
    CellEffects,
    calibration,
    calibration_intervals,
    measure_cell_effects,
)
from vision_attn.metrics.explanation.base import EvaluationBatch
from vision_attn.metrics.explanation.single_deletion import SingleDeletion
from vision_attn.models.classifier import AttentionClassifier

IMAGES, CLASSES, HEIGHT, WIDTH = 3, 5, 29, 23
FEW = 4  # cells per side
MEAN = torch.tensor([0.2, 0.5, 0.7], dtype=torch.float64).view(1, 3, 1, 1)


class Places(nn.Module):
    """Evidence on a grid of 7 x 5 places; with `local`, a place sees only its own pixels."""

    def __init__(self, local: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = SimpleNamespace(mean=MEAN)
        self.mix = nn.Conv2d(3, CLASSES, 1 if local else 5, padding="same", bias=False).double()
        self.local = local
        self.passes = 0

    def evidence(self, images: Tensor) -> Tensor:
        self.passes += 1
        mixed = self.mix(images - MEAN)
        if self.local:
            return mixed
        return nn.functional.adaptive_avg_pool2d(mixed.tanh(), (7, 5))


def model(local: bool) -> AttentionClassifier:
    return cast(AttentionClassifier, Places(local))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(IMAGES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)).double()


TARGETS = torch.tensor([4, 0, 2])


def share(place: int, places: int, cell: int) -> float:
    """The share of a place, of `places` on a side, that lies in a cell, of 4 on a side."""
    low, high = max(place / places, cell / FEW), min((place + 1) / places, (cell + 1) / FEW)
    return max(high - low, 0) * places


def slow_sum(evidence: Tensor, row: int, column: int) -> float:
    """The evidence in a cell, by a loop over places."""
    height, width = evidence.shape
    return sum(
        float(evidence[i, j]) * share(i, height, row) * share(j, width, column)
        for i in range(height)
        for j in range(width)
    )


def test_effects_equal_a_loop_over_images_and_cells(images: Tensor) -> None:
    network = model(local=False)
    found = measure_cell_effects(network, images, TARGETS, batch_size=2)
    for image, target in enumerate(TARGETS.tolist()):
        before = network.evidence(images[image : image + 1])[0, target].detach()
        for cell in range(FEW**2):
            row, column = divmod(cell, FEW)
            changed = images[image].clone()
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    if (y * FEW // HEIGHT, x * FEW // WIDTH) == (row, column):
                        changed[:, y, x] = MEAN.flatten()
            after = network.evidence(changed.unsqueeze(0))[0, target].detach()
            said, stays = slow_sum(before, row, column), slow_sum(after, row, column)
            rest = float(before.sum()) - said - (float(after.sum()) - stays)
            assert float(found.said[image, cell]) == pytest.approx(said, abs=1e-10)
            assert float(found.stays[image, cell]) == pytest.approx(stays, abs=1e-10)
            assert float(found.spills[image, cell]) == pytest.approx(rest, abs=1e-10)
            drop = float(before.sum() - after.sum())
            assert float(found.measured[image, cell]) == pytest.approx(drop, abs=1e-10)
    difference = found.said - found.measured - (found.stays - found.spills)
    assert difference.abs().max() < 1e-10
    assert found.spills.abs().max() > 0.01  # this network does look beyond its places


def test_evidence_that_is_linear_in_its_own_pixels_is_perfectly_calibrated() -> None:
    """Cells of 7 x 6 pixels, so no pixel lies in two cells."""
    pixels = torch.rand(IMAGES, 3, 28, 24, dtype=torch.float64)
    found = calibration(measure_cell_effects(model(local=True), pixels, TARGETS))
    assert found == pytest.approx((1, 1, 0, 0, 0), abs=1e-9)


def random_effects(slope: float, noise: float, count: int = 60) -> CellEffects:
    generator = torch.Generator().manual_seed(2)
    said, error = torch.randn(2, count, 16, generator=generator, dtype=torch.float64)
    measured = slope * said + noise * error
    return CellEffects(said, measured, 0 * said)


def test_slope_and_r2_are_those_of_linear_regression() -> None:
    effects = random_effects(0.7, 0.4)
    line = linregress(effects.said.flatten(), effects.measured.flatten())
    found = calibration(effects)
    assert found.slope == pytest.approx(line.slope)
    assert found.r2 == pytest.approx(line.rvalue**2)
    error = (effects.said - effects.measured).abs().flatten().median()
    assert found.median_error == pytest.approx(float(error), abs=2e-3)
    assert found.spills == pytest.approx(found.median_error)


def test_intervals_hold_the_truth_and_narrow_with_more_images() -> None:
    few, many = (
        calibration_intervals(random_effects(0.7, 0.4, count))["slope"] for count in (15, 240)
    )
    assert few.low < 0.7 < few.high
    assert many.low < 0.7 < many.high
    assert few.high - few.low > 2 * (many.high - many.low)


def test_constant_evidence_has_no_slope() -> None:
    flat = torch.zeros(2, 16)
    found = calibration(CellEffects(flat, flat + 1, flat))
    assert math.isnan(found.slope)
    assert found.median_error == 1


def test_the_lines_say_slope_and_intervals() -> None:
    first, second = describe(about(random_effects(0.7, 0.0)))
    assert "960 cells: slope 0.70 (0.70 to 0.70), R^2 1.00 (1.00 to 1.00)" in first
    assert "stay in the deleted cell" in second


def test_cells_are_deleted_once_for_all_explainers(images: Tensor) -> None:
    network = Places(local=False)
    batch = EvaluationBatch(cast(AttentionClassifier, network), images, TARGETS)
    groups, left_out = prepare(batch, {"single_deletion": SingleDeletion()})
    assert not left_out
    assert len(groups) == 1
    measured = network.passes
    assert measured == 17  # one batch, as it is and without each cell
    results = [evaluate_explainer(found, groups, 2, lambda: None) for found in (Random(), Center())]
    assert all(len(result.scores["single_deletion"]) == IMAGES for result in results)
    assert network.passes == measured
