"""Verified cells: the strongest ones, with the measured effect of deleting each."""

import pytest
import torch

from tests.metrics.test_evidence_calibration import TARGETS, Places
from vision_attn.inference.verification import CELLS, verify
from vision_attn.metrics.evidence_calibration import measure_cell_effects


def test_the_strongest_cells_come_first_with_their_measured_effect() -> None:
    images = torch.rand(3, 3, 29, 23, dtype=torch.float64)
    network = Places(local=False)
    effects = measure_cell_effects(network, images, TARGETS)  # type: ignore[arg-type]
    found = verify(network, images, TARGETS)  # type: ignore[arg-type]
    for image, cells in enumerate(found):
        order = effects.said[image].abs().argsort(descending=True)[:CELLS].tolist()
        assert [4 * cell.row + cell.column for cell in cells] == order
        for cell, number in zip(cells, order, strict=True):
            assert cell.said == pytest.approx(float(effects.said[image, number]))
            assert cell.measured == pytest.approx(float(effects.measured[image, number]))
