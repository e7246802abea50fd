"""Which strength is chosen and whether attention is trained: judged on held-out images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vision_attn.pooling.average import Average
from vision_attn.pooling.base import Channels
from vision_attn.pooling.global_attention import GlobalAttention
from vision_attn.training.probe.attention import contexts_of
from vision_attn.training.probe.features import Features
from vision_attn.training.probe.selection import (
    FOLDS,
    PENALTIES,
    Problem,
    grouped_folds,
    loss_out_of_fold,
    out_of_fold,
    steps_of_trainings,
    stratified_folds,
    trained,
    untrained,
)

CHANNELS, MARK = 12, 11


def marked_images(count: int, views: int = 1, noise: float = 3.0, seed: int = 0) -> Features:
    """Features of 5x7 places: only at a marked place do they tell which of 3 classes it is.

    Elsewhere they are noise, which hides the class in their average.
    """
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    maps = noise * torch.randn(views, count, CHANNELS, 35, generator=generator)
    maps[:, :, MARK] -= 4.0
    places = torch.randint(35, (count,), generator=generator)
    for index, (place, target) in enumerate(zip(places, targets, strict=True)):
        maps[:, index, target, place] += 6.0
        maps[:, index, MARK, place] += 20.0
    return Features([maps.view(views, count, CHANNELS, 5, 7).half()], targets, torch.device("cpu"))


def problem_of(features: Features, balanced: bool = False) -> Problem:
    return Problem(features, 3, balanced, seed=0)


class TestStratifiedFolds:
    @pytest.mark.parametrize("counts", [(7, 7, 7), (3, 1, 29), (2, 2, 2), (1, 53, 11)])
    def test_every_class_is_spread_evenly(self, counts: tuple[int, ...]) -> None:
        targets = np.repeat(np.arange(3), counts)
        folds = stratified_folds(targets, 5, seed=1)
        for label, count in enumerate(counts):
            sizes = np.bincount(folds[targets == label], minlength=5)
            assert sizes.sum() == count
            assert sizes.max() - sizes.min() <= 1
        sizes = np.bincount(folds, minlength=5)
        assert sizes.max() - sizes.min() <= 1

    def test_the_seed(self) -> None:
        targets = np.arange(60) % 3
        first, again, other = (stratified_folds(targets, 5, seed) for seed in (0, 0, 1))
        assert (first == again).all()
        assert (first != other).any()


class TestGroupedFolds:
    def test_groups_are_whole_and_folds_are_stratified(self) -> None:
        random = np.random.default_rng(0)
        groups = np.sort(random.integers(0, 97, 311))
        targets = groups % 3
        folds = grouped_folds(targets, groups, 5, seed=1)
        assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))
        for label in range(3):
            sizes = np.bincount(folds[targets == label], minlength=5)
            assert sizes.max() - sizes.min() <= 4  # about the size of a group

    def test_a_problem_keeps_related_images_in_one_fold(self) -> None:
        features = marked_images(31)
        groups = torch.arange(31) // 6
        problem = problem_of(replace(features, groups=groups))
        assert all(len(set(problem.folds[groups.numpy() == group])) == 1 for group in range(6))

    def test_images_that_are_not_related_are_in_stratified_folds(self) -> None:
        features = marked_images(31)
        expected = problem_of(features).folds
        found = problem_of(replace(features, groups=torch.arange(31).flip(0))).folds
        assert (found == expected).all()


class TestOutOfFold:
    def test_no_image_scores_itself(self) -> None:
        """Each image is scored once, by a fit without its fold."""
        problem = problem_of(marked_images(31))
        fits = []

        def fit(chosen: np.ndarray) -> object:
            fits.append(chosen)
            number = len(fits) - 1
            return lambda inside: np.full((int(inside.sum()), 1), number)

        scored_by = out_of_fold(problem, fit)[:, 0].astype(int)  # type: ignore[arg-type]
        assert len(fits) == FOLDS
        for index, number in enumerate(scored_by):
            assert not fits[number][index]
        assert (sum(chosen.astype(int) for chosen in fits) == FOLDS - 1).all()

    def test_labels_that_mean_nothing(self) -> None:
        """Training accuracy is 1, but out of fold it is by chance."""
        generator = torch.Generator().manual_seed(0)
        maps = torch.randn(1, 120, 97, 3, 5, generator=generator).half()
        features = Features([maps], torch.arange(120) % 3, torch.device("cpu"))
        choice = untrained(Average(Channels(97)), problem_of(features))
        contexts = contexts_of(choice.pooling, features)[0].double().numpy()
        assert (choice.head.logits(contexts).argmax(1) == features.targets.numpy()).mean() > 0.95
        assert (choice.logits.argmax(1) == features.targets.numpy()).mean() < 0.5

    def test_views_of_an_image_are_in_the_same_fold(self) -> None:
        """Else the flipped copy would tell the class of an image."""
        maps = torch.randn(1, 120, 97, 3, 5, generator=torch.Generator().manual_seed(0)).half()
        features = Features(
            [maps.repeat(2, 1, 1, 1, 1)], torch.arange(120) % 3, torch.device("cpu")
        )
        choice = untrained(Average(Channels(97)), problem_of(features))
        assert (choice.logits.argmax(1) == features.targets.numpy()).mean() < 0.5


class TestAttention:
    def test_it_is_trained_where_the_average_hides_the_class(self) -> None:
        torch.manual_seed(0)
        features = marked_images(240, views=2)
        problem = problem_of(features)
        start = untrained(GlobalAttention(Channels(CHANNELS), heads=1), problem)
        steps: list[int] = []
        attended = trained(start, problem, advance=lambda: steps.append(1))
        assert len(steps) == steps_of_trainings(problem)
        targets = features.targets.numpy()
        assert loss_out_of_fold(attended.logits, problem) < loss_out_of_fold(start.logits, problem)
        before, after = (
            (choice.logits.argmax(1) == targets).mean() for choice in (start, attended)
        )
        assert before < 0.45
        assert after > before + 0.2
        weights = attended.pooling(*features.batch(0, torch.arange(240))).weights
        at_mark = features.maps[0][0, :, MARK].flatten(1) > 7
        assert float(weights.detach()[:, 0].flatten(1)[at_mark].mean()) > 5 / 35
        start_weights = start.pooling(*features.batch(0, torch.arange(240))).weights
        assert float(start_weights.detach().max()) < 2 / 35  # training changes a copy

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        problem = problem_of(marked_images(60))
        torch.manual_seed(0)
        start = untrained(GlobalAttention(Channels(CHANNELS)), problem)
        first, second = (trained(start, problem, advance=lambda: None) for _ in range(2))
        assert (first.head.weight == second.head.weight).all()
        assert (first.logits == second.logits).all()


class TestStrength:
    def test_it_is_one_of_those_tried_and_the_best(self) -> None:
        problem = problem_of(marked_images(90, noise=1.0))
        choice = untrained(Average(Channels(CHANNELS)), problem)
        assert choice.penalty in PENALTIES
        assert choice.logits.shape == (90, 3)

    def test_rare_classes_count_as_much_if_balanced(self) -> None:
        generator = torch.Generator().manual_seed(0)
        targets = torch.tensor([0] * 200 + [1] * 12)
        maps = torch.randn(1, 212, 5, 2, 3, generator=generator)
        maps[0, targets == 1, 0] += 0.8
        features = Features([maps.half()], targets, torch.device("cpu"))
        plain, balanced = (
            untrained(Average(Channels(5)), Problem(features, 2, flag, seed=0)).logits.argmax(1)
            for flag in (False, True)
        )
        rare = targets.numpy() == 1
        assert balanced[rare].mean() > plain[rare].mean()
