"""Test ROAD: imputation against a slow reference, and the curve by hand."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.metrics.test_metrics import PLAIN, first_channel, make_batch
from vision_attn.metrics.explanation import road
from vision_attn.metrics.explanation.base import EvaluationBatch
from vision_attn.metrics.explanation.imputation import impute
from vision_attn.metrics.explanation.road import Road, impute_most_relevant


def solve_dense(image: Tensor, removed: Tensor) -> Tensor:
    """Impute with a dense linear system: one weighted mean of neighbors per removed pixel."""
    height, width = removed.shape
    pixels = [tuple(pixel) for pixel in removed.nonzero().tolist()]
    system = torch.zeros(len(pixels), len(pixels), dtype=image.dtype)
    known = torch.zeros(len(pixels), len(image), dtype=image.dtype)
    for row, (y, x) in enumerate(pixels):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                neighbor = (y + dy, x + dx)
                if neighbor == (y, x) or not (
                    0 <= neighbor[0] < height and 0 <= neighbor[1] < width
                ):
                    continue
                weight = 1 / 12 if dy and dx else 1 / 6
                system[row, row] += weight
                if neighbor in pixels:
                    system[row, pixels.index(neighbor)] -= weight
                else:
                    known[row] += weight * image[:, neighbor[0], neighbor[1]]
    filled = image.clone()
    filled[:, removed] = torch.linalg.solve(system, known).T
    return filled


class TestImputation:
    def test_matches_the_slow_reference(self) -> None:
        images = torch.rand(5, 3, 11, 13, dtype=torch.double)
        shares = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.97]).view(5, 1, 1, 1)
        removed = torch.rand(5, 1, 11, 13) < shares
        removed[2, :, :7] = True  # a large hole at the border
        expected = torch.stack(
            [solve_dense(*pair) for pair in zip(images, removed[:, 0], strict=True)]
        )
        assert_close(impute(images, removed), expected, rtol=0, atol=1e-4)
        assert_close(impute(images.float(), removed), expected.float(), rtol=0, atol=1e-4)

    def test_a_large_hole(self) -> None:
        """Each pixel of a ramp is its neighbors' mean, so a hole in it is restored exactly."""
        ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
        removed = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
        removed[..., 2:-2, 2:-2] = True
        assert_close(impute(ramp, removed), ramp, rtol=0, atol=1e-3)

    def test_images_are_independent_of_one_another(self) -> None:
        images, removed = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 8, 8) < 0.5
        removed[1] = False
        separate = [impute(images[k : k + 1], removed[k : k + 1]) for k in range(3)]
        assert_close(impute(images, removed), torch.cat(separate), rtol=0, atol=1e-4)
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
        """From the left, each removed pixel gets the value of the first remaining pixel."""
        monkeypatch.setattr(road, "NOISE", 0.0)
        batch = make_wide_batch(self.strip)
        heat = torch.arange(10.0, 0, -1).view(1, 1, 10)
        values = self.strip[0, 0]
        sums = [k * values[k] + values[k:].sum() for k in range(1, 10)]
        by_hand = torch.sigmoid(torch.stack(sums)).mean()
        assert_close(Road().score(batch, heat), by_hand.view(1), rtol=1e-3, atol=1e-4)

    def test_a_pixel_between_two_neighbors_is_their_mean(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(road, "NOISE", 0.0)
        ranks = torch.tensor([[9, 0, 8, 1, 7, 2, 6, 3, 5, 4]])
        imputed = impute_most_relevant(first_channel(self.strip), ranks, 0.4)[0, 0, 0] - PLAIN
        by_hand = torch.tensor([9.0, 6.5, 4.0, 3.5, 3.0, 2.0, 1.0, 0.5, 0.0, -1.0])
        assert_close(imputed, by_hand, rtol=0, atol=1e-4)

    def test_each_share_removes_that_many_pixels(self) -> None:
        images = torch.rand(1, 3, 1, 10)
        for count, share in enumerate(road.SHARES, start=1):
            changed = impute_most_relevant(images, torch.arange(10).view(1, 10), share) != images
            assert changed.any(1).sum() == count

    def test_noise_has_the_strength_of_the_paper(self) -> None:
        images = torch.full((2, 3, 50, 50), 0.5)
        ranks = torch.arange(2500).expand(2, 2500)
        imputed = impute_most_relevant(images, ranks, 0.8)
        assert_close(imputed[:, :, :40].std(), torch.tensor(0.01), rtol=0.05, atol=0)
        assert torch.equal(imputed[:, :, 40:], images[:, :, 40:])
        assert torch.equal(imputed[0], imputed[1])  # the same for every image, in any batch
        assert torch.equal(imputed, impute_most_relevant(images, ranks, 0.8))

    def test_a_good_map_scores_lower(self) -> None:
        values = torch.zeros(4, 16, 16)
        values[:, 4:9, 5:10] = 1.0
        batch = make_batch(values)
        good, bad = Road().score(batch, values), Road().score(batch, -values)
        assert Road.higher_is_better is False
        assert (good + 0.2 < bad).all()


def make_wide_batch(values: Tensor) -> EvaluationBatch:
    """Make a batch of non-square images; the logit is the sum of `values`."""
    batch = make_batch(values)
    pixels = values.shape[-2] * values.shape[-1]
    batch.model.head.weight.data[0, 0] = pixels
    batch.model.head.bias.data[0] = -PLAIN * pixels
    return batch
