"""Attention on the stage before the last: how it is trained, and when it is worth something."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.training.probe.test_selection import CHANNELS, marked_images, problem_of
from vision_attn.pooling.average import Average
from vision_attn.pooling.base import Channels
from vision_attn.pooling.two_stages import TwoStages, WideAttention
from vision_attn.training.deadline import Deadline
from vision_attn.training.probe.earlier_stage import (
    both_stages,
    standardize,
    train_wide_attention,
)
from vision_attn.training.probe.features import Features
from vision_attn.training.probe.selection import Choice, Problem, gain, untrained
from vision_attn.training.probe.stage import choose

LAST = 7  # channels of the last stage


def two_stages_of(count: int, telling: bool) -> Features:
    """Noise as the last features; the marked place of the stage before tells the class, or not."""
    earlier = marked_images(count, noise=1.0 if telling else 3.0)
    if not telling:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
        earlier = Features([earlier.maps[0][:, order]], earlier.targets, earlier.device)
    generator = torch.Generator().manual_seed(2)
    last = torch.randn(1, count, LAST, 3, 4, generator=generator)
    last[0, torch.arange(count), earlier.targets] += 0.25
    return Features([last.half(), earlier.maps[0]], earlier.targets, earlier.device)


def untrained_pooling() -> TwoStages:
    torch.manual_seed(0)
    return TwoStages(Channels(LAST, 3, (CHANNELS,)), Average, heads=2)


def joined(problem: Problem) -> tuple[Choice, Choice]:
    """The choice for the last stage, and the one for both."""
    pooling = untrained_pooling()
    start = untrained(
        pooling.last, Problem(problem.features.only(0), 3, problem.balanced, problem.seed)
    )
    return start, both_stages(pooling, start, problem, lambda: None)


def test_standardization_is_that_of_the_chosen_images() -> None:
    features = Features(
        [torch.randn(2, 11, 5, 3, 7).half() * 3 + 2], torch.arange(11) % 3, torch.device("cpu")
    )
    attention, images = WideAttention(5, heads=2), torch.tensor([1, 4, 5, 10])
    standardize(attention, features, images)
    chosen = features.maps[0][:, images].double().numpy()
    for channel in range(5):
        values = chosen[:, :, channel].flatten()
        assert attention.mean[0, channel, 0, 0].item() == pytest.approx(np.mean(values), abs=1e-5)
        assert attention.std[0, channel, 0, 0].item() == pytest.approx(np.std(values), abs=1e-5)


def test_a_channel_that_never_changes_is_kept() -> None:
    features = Features([torch.ones(1, 4, 3, 2, 2).half()], torch.arange(4), torch.device("cpu"))
    attention = WideAttention(3, heads=1)
    standardize(attention, features, torch.arange(4))
    assert attention(torch.ones(1, 3, 2, 2)).context.abs().max() == 0


def test_it_finds_the_places_that_tell_the_class() -> None:
    features = two_stages_of(240, telling=True).only(1)
    torch.manual_seed(0)
    attention = WideAttention(CHANNELS, heads=2)
    train_wide_attention(attention, features, torch.arange(240), 3, seed=0)
    weights = attention(*features.batch(0, torch.arange(240))).weights.detach()
    marked = features.maps[0][0, :, 11].flatten(1) > 7
    assert float(weights.flatten(2).amax(1)[marked].mean()) > 4 / 35


def test_the_head_and_the_contexts_of_both_stages() -> None:
    problem = problem_of(two_stages_of(120, telling=True))
    start, both = joined(problem)
    assert isinstance(both.pooling, TwoStages)
    assert both.pooling.last is start.pooling
    assert both.head.weight.shape == (3, LAST + 2 * CHANNELS)
    lower, error = gain(both, start, problem)
    assert lower > 3 * error > 0
    accuracy = (both.logits.argmax(1) == problem.targets).mean()
    pooled = both.pooling(*problem.features.batch(0, torch.arange(120))).context
    fitted = both.head.logits(pooled.detach().double().numpy())
    assert accuracy > 0.8
    assert (fitted.argmax(1) == problem.targets).mean() >= accuracy


def test_the_same_seed_gives_the_same_weights() -> None:
    problem = problem_of(two_stages_of(60, telling=True))
    first, second = (joined(problem)[1] for _ in range(2))
    assert (first.logits == second.logits).all()
    for one, other in zip(first.pooling.parameters(), second.pooling.parameters(), strict=True):
        assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("telling", [True, False])
def test_it_is_chosen_only_if_it_helps(telling: bool, capsys: pytest.CaptureFixture[str]) -> None:
    pooling = untrained_pooling()
    problem = problem_of(two_stages_of(90, telling))
    found = choose(pooling.last, pooling, problem, Deadline())
    assert isinstance(found.pooling, TwoStages) == telling
    printed = capsys.readouterr().out
    kept = "both stages are used" if telling else "the last stage alone, 3x4, is used"
    assert kept in printed
    assert "with the stage before the last, 5x7: accuracy" in printed


def test_the_gain_is_that_of_differences_per_image() -> None:
    problem = problem_of(two_stages_of(31, telling=True))
    start, both = joined(problem)
    lower, error = gain(both, start, problem)
    again = gain(start, both, problem)
    assert again == pytest.approx((-lower, error))
    assert gain(start, start, problem) == (0, 0)
