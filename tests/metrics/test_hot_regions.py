"""Test box and mask IoU against slow reference implementations of the papers."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.metrics.test_metrics import make_batch
from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import EvaluationBatch
from vision_attn.metrics.explanation.box_iou import BoxIoU
from vision_attn.metrics.explanation.mask_iou import MaskIoU

Box = tuple[int, int, int, int]


def boxes_by_flooding(picture: list[list[bool]]) -> list[Box]:
    """Compute boxes (top, left, bottom, right) of the 8-connected components, by flood fill."""
    remaining = {(y, x) for y, row in enumerate(picture) for x, hot in enumerate(row) if hot}
    boxes = []
    while remaining:
        edge, part = [remaining.pop()], set()
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & remaining
            remaining -= near
            edge += near
        rows, columns = zip(*part, strict=True)
        boxes.append((min(rows), min(columns), max(rows), max(columns)))
    return boxes


def pixels(box: Box) -> set[tuple[int, int]]:
    top, left, bottom, right = box
    return set(itertools.product(range(top, bottom + 1), range(left, right + 1)))


def iou(one: set[tuple[int, int]], other: set[tuple[int, int]]) -> float:
    return len(one & other) / len(one | other)


def max_box_accuracy(heatmaps: Tensor, masks: Tensor) -> float:
    """Compute MaxBoxAccV2 as in the paper, one image, threshold and box at a time."""
    levels = []
    for level in (0.3, 0.5, 0.7):
        accuracies = []
        for step in range(100):
            hits = 0
            for heat, mask in zip(heatmaps, masks, strict=True):
                scaled = (heat - heat.min()) / (heat.max() - heat.min())
                found = boxes_by_flooding((scaled > step / 100).tolist())
                truth = boxes_by_flooding(mask.tolist())
                fits = [iou(pixels(a), pixels(b)) for a in found for b in truth]
                hits += max(fits, default=0) >= level
            accuracies.append(hits / len(masks))
        levels.append(max(accuracies))
    return sum(levels) / 3


@pytest.fixture
def objects() -> tuple[EvaluationBatch, Tensor]:
    """Noisy maps with higher values on the objects; the second image has two objects."""
    masks = torch.zeros(5, 13, 11, dtype=torch.bool)
    for k, (top, left) in enumerate(((1, 2), (6, 1), (5, 5), (0, 0), (7, 6))):
        masks[k, top : top + 5, left : left + 4] = True
    masks[1, 0:3, 7:10] = True
    return make_batch(torch.rand(5, 13, 11), masks), masks * 0.3 + torch.rand(5, 13, 11)


class TestBoxes:
    def test_the_mean_is_max_box_accuracy(self, objects: tuple[EvaluationBatch, Tensor]) -> None:
        batch, heatmaps = objects
        metric = BoxIoU()
        scores = metric.aggregate(metric.score(batch, heatmaps))
        expected = max_box_accuracy(heatmaps, batch.masks)
        assert 0.2 < expected < 0.95
        assert scores.mean().item() == pytest.approx(expected)

    def test_coarse_maps_are_upsampled_to_the_image_size(
        self, objects: tuple[EvaluationBatch, Tensor]
    ) -> None:
        batch, _ = objects
        coarse = torch.rand(5, 3, 4)
        metric = BoxIoU()
        assert_close(metric.score(batch, coarse), metric.score(batch, upsample(coarse, 13, 11)))

    def test_one_threshold_serves_all(self) -> None:
        """By hand: the first map fits from .6 on, the second below .4; no threshold fits both."""
        masks = torch.tensor([[[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]], [[1, 1, 1, 1, 1, 1, 1, 1, 1, 0]]])
        heat = torch.tensor([[[1.0] + [0.6] * 8 + [0.0]], [[1.0] + [0.4] * 8 + [0.0]]])
        batch = make_batch(torch.rand(2, 1, 10), masks.bool())
        metric = BoxIoU()
        measured = metric.score(batch, heat)
        assert measured[0].tolist() == pytest.approx([1 / 9] * 60 + [1.0] * 40)
        assert measured[1].tolist() == pytest.approx([1.0] * 40 + [1 / 9] * 60)
        assert metric.aggregate(measured).tolist() == [0.0, 1.0]  # ties: the lowest threshold
        assert metric.aggregate(measured[:1]).tolist() == [1.0]
        more = torch.cat([measured[:1], measured])  # now the higher one has more hits
        assert metric.aggregate(more).tolist() == [1.0, 1.0, 0.0]

    def test_the_best_component_counts(self) -> None:
        mask = torch.tensor([[[0, 0, 0, 0, 0, 0, 0, 1, 1, 0]]]).bool()
        heat = torch.tensor([[[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]])
        measured = BoxIoU().score(make_batch(torch.rand(1, 1, 10), mask), heat)
        assert_close(measured, torch.full((1, 100), 2 / 3, dtype=torch.double))


class TestMasks:
    def test_matches_the_slow_reference(self, objects: tuple[EvaluationBatch, Tensor]) -> None:
        batch, heatmaps = objects
        means = []
        for step in range(100):
            shares = []
            for heat, mask in zip(heatmaps, batch.masks, strict=True):
                scaled = (heat - heat.min()) / (heat.max() - heat.min())
                hot = {tuple(pixel) for pixel in (scaled > step / 100).nonzero().tolist()}
                shares.append(iou(hot, {tuple(pixel) for pixel in mask.nonzero().tolist()}))
            means.append(sum(shares) / 5)
        metric = MaskIoU()
        scores = metric.aggregate(metric.score(batch, heatmaps))
        assert scores.mean().item() == pytest.approx(max(means))

    def test_one_threshold_serves_all(self) -> None:
        """By hand: from .5 on, the IoUs are 1 and 3/4; below .5, they are 1/3 and 3/4."""
        masks = torch.tensor([[[1, 0, 0, 0]], [[1, 1, 1, 1]]]).bool()
        heat = torch.tensor([[[1.0, 0.5, 0.5, 0.0]], [[1.0, 1.0, 1.0, 0.5]]])
        heat[1, 0, 3] = 0.0
        measured = MaskIoU().score(make_batch(torch.rand(2, 1, 4), masks), heat)
        assert measured[0].tolist() == pytest.approx([1 / 3] * 50 + [1.0] * 50)
        assert measured[1].tolist() == pytest.approx([0.75] * 100)
        assert MaskIoU().aggregate(measured).tolist() == [1.0, 0.75]


@pytest.mark.parametrize("metric", [BoxIoU(), MaskIoU()])
class TestBoth:
    def test_an_empty_mask_is_nan_and_does_not_affect_other_images(
        self, metric: BoxIoU | MaskIoU, objects: tuple[EvaluationBatch, Tensor]
    ) -> None:
        batch, heatmaps = objects
        before = metric.aggregate(metric.score(batch, heatmaps))
        masks = torch.cat([batch.masks, torch.zeros(1, 13, 11).bool()])
        empty = make_batch(torch.rand(6, 13, 11), masks)
        after = metric.aggregate(metric.score(empty, torch.cat([heatmaps, heatmaps[:1]])))
        assert_close(after[:5], before)
        assert after[5].isnan()

    def test_a_constant_map_scores_zero(self, metric: BoxIoU | MaskIoU) -> None:
        masks = torch.zeros(50, 32, 32, dtype=torch.bool)
        masks[:, :16, :16] = True
        batch = make_batch(torch.rand(50, 32, 32), masks)
        flat = torch.linspace(0.1, 0.9, 50).view(-1, 1, 1).expand(-1, 7, 7)
        assert_close(metric.score(batch, flat), torch.zeros(50, 100, dtype=torch.double))

    def test_scale_and_offset_do_not_matter(
        self, metric: BoxIoU | MaskIoU, objects: tuple[EvaluationBatch, Tensor]
    ) -> None:
        batch, heatmaps = objects
        assert_close(metric.score(batch, heatmaps), metric.score(batch, 4 * heatmaps - 8))
