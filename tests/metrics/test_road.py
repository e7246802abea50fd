"""ROAD: the paper's imputation as a slow twin, and its curve by hand."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.metrics.test_metrics import PLAIN, first_channel, trial_of
from vision_attn.metrics.explanation import road
from vision_attn.metrics.explanation.base import EvaluationBatch
from vision_attn.metrics.explanation.imputation import impute
from vision_attn.metrics.explanation.road import Road, without


def one_equation_a_pixel(image: Tensor, removed: Tensor) -> Tensor:
    """Each removed pixel is the weighted mean of its neighbours, solved as it stands."""
    height, width = removed.shape
    places = [tuple(place) for place in removed.nonzero().tolist()]
    system = torch.zeros(len(places), len(places), dtype=image.dtype)
    known = torch.zeros(len(places), len(image), dtype=image.dtype)
    for row, (y, x) in enumerate(places):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                there = (y + dy, x + dx)
                if there == (y, x) or not (0 <= there[0] < height and 0 <= there[1] < width):
                    continue
                weight = 1 / 12 if dy and dx else 1 / 6
                system[row, row] += weight
                if there in places:
                    system[row, places.index(there)] -= weight
                else:
                    known[row] += weight * image[:, there[0], there[1]]
    filled = image.clone()
    filled[:, removed] = torch.linalg.solve(system, known).T
    return filled


class TestImputation:
    def test_the_slow_twin(self) -> None:
        images = torch.rand(5, 3, 11, 13, dtype=torch.double)
        shares = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.97]).view(5, 1, 1, 1)
        removed = torch.rand(5, 1, 11, 13) < shares
        removed[2, :, :7] = True  # a large hole at the border
        twin = torch.stack(
            [one_equation_a_pixel(*pair) for pair in zip(images, removed[:, 0], strict=True)]
        )
        assert_close(impute(images, removed), twin, rtol=0, atol=1e-4)
        assert_close(impute(images.float(), removed), twin.float(), rtol=0, atol=1e-4)

    def test_a_large_hole(self) -> None:
        """A ramp is the mean of its neighbours everywhere, so that is what a hole in it becomes."""
        ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
        removed = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
        removed[..., 2:-2, 2:-2] = True
        assert_close(impute(ramp, removed), ramp, rtol=0, atol=1e-3)

    def test_images_do_not_know_of_one_another(self) -> None:
        images, removed = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 8, 8) < 0.5
        removed[1] = False
        apart = [impute(images[k : k + 1], removed[k : k + 1]) for k in range(3)]
        assert_close(impute(images, removed), torch.cat(apart), rtol=0, atol=1e-4)
        assert torch.equal(impute(images, removed)[1], images[1])

    def test_black_stays_black(self) -> None:
        images, removed = torch.zeros(1, 3, 8, 8), torch.rand(1, 1, 8, 8) < 0.5
        images[..., 7, 7] = 1.0
        removed[...] = True
        removed[..., 0, 0] = False  # the only pixel left is black
        assert_close(impute(images, removed), torch.zeros(1, 3, 8, 8), rtol=0, atol=1e-4)


class TestRoad:
    strip = torch.tensor([[[9.0, 8.0, 4.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.0, -1.0]]])

    def test_by_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the left, each pixel removed takes the value of the first that is left."""
        monkeypatch.setattr(road, "NOISE", 0.0)
        batch = wide(self.strip)
        heat = torch.arange(10.0, 0, -1).view(1, 1, 10)
        values = self.strip[0, 0]
        sums = [k * values[k] + values[k:].sum() for k in range(1, 10)]
        by_hand = torch.sigmoid(torch.stack(sums)).mean()
        assert_close(Road().score(batch, heat), by_hand.view(1), rtol=1e-3, atol=1e-4)

    def test_a_pixel_between_two(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(road, "NOISE", 0.0)
        ranks = torch.tensor([[9, 0, 8, 1, 7, 2, 6, 3, 5, 4]])
        gone = without(first_channel(self.strip), ranks, 0.4)[0, 0, 0] - PLAIN
        by_hand = torch.tensor([9.0, 6.5, 4.0, 3.5, 3.0, 2.0, 1.0, 0.5, 0.0, -1.0])
        assert_close(gone, by_hand, rtol=0, atol=1e-4)

    def test_every_share_removes_as_many(self) -> None:
        images = torch.rand(1, 3, 1, 10)
        for count, share in enumerate(road.SHARES, start=1):
            changed = without(images, torch.arange(10).view(1, 10), share) != images
            assert changed.any(1).sum() == count

    def test_noise_is_as_strong_as_in_the_paper(self) -> None:
        images = torch.full((2, 3, 50, 50), 0.5)
        ranks = torch.arange(2500).expand(2, 2500)
        made_up = without(images, ranks, 0.8)
        assert_close(made_up[:, :, :40].std(), torch.tensor(0.01), rtol=0.05, atol=0)
        assert torch.equal(made_up[:, :, 40:], images[:, :, 40:])
        assert torch.equal(made_up[0], made_up[1])  # the same for every image, in any batch
        assert torch.equal(made_up, without(images, ranks, 0.8))

    def test_a_good_map_scores_lower(self) -> None:
        values = torch.zeros(4, 16, 16)
        values[:, 4:9, 5:10] = 1.0
        batch = trial_of(values)
        good, bad = Road().score(batch, values), Road().score(batch, -values)
        assert Road.higher_is_better is False
        assert (good + 0.2 < bad).all()


def wide(values: Tensor) -> EvaluationBatch:
    """A trial of images that are no squares; the logit is the sum of `values`."""
    batch = trial_of(values)
    pixels = values.shape[-2] * values.shape[-1]
    batch.model.head.weight.data[0, 0] = pixels
    batch.model.head.bias.data[0] = -PLAIN * pixels
    return batch
