"""Bootstrap intervals: against a plain loop, against scipy, and on data whose truth is known."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.metrics.bootstrap import LEVEL, RESAMPLES, bootstrap_intervals


def in_a_loop(
    correct: np.ndarray, targets: np.ndarray, groups: np.ndarray, seed: int
) -> dict[str, tuple[float, float]]:
    """The same by copying the images of each group that is drawn, as often as it is."""
    names = np.unique(groups)
    counts = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    accuracy, balanced = [], []
    for row in counts:
        drawn = np.repeat(names, row)
        images = np.concatenate([np.flatnonzero(groups == name) for name in drawn])
        accuracy.append(correct[images].mean())
        present = np.unique(targets[images])
        balanced.append(np.mean([correct[images][targets[images] == k].mean() for k in present]))
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {
        "accuracy": tuple(np.quantile(accuracy, tails)),
        "balanced_accuracy": tuple(np.quantile(balanced, tails)),
    }


@pytest.mark.parametrize("groups_per_image", [1.0, 0.4])
def test_it_equals_a_plain_loop(groups_per_image: float) -> None:
    random = np.random.default_rng(3)
    correct, targets = random.random(37) < 0.7, random.integers(0, 5, 37)
    groups = random.integers(0, int(37 * groups_per_image), 37)
    found = bootstrap_intervals(correct, targets, groups, seed=11)
    for name, expected in in_a_loop(correct, targets, groups, 11).items():
        assert found[name] == pytest.approx(expected, abs=1e-12)


def test_it_agrees_with_scipy() -> None:
    correct = np.random.default_rng(5).random(101) < 0.8
    found = bootstrap_intervals(correct, np.zeros(101, int), np.arange(101))["accuracy"]
    theirs = bootstrap((correct,), np.mean, method="percentile", rng=1).confidence_interval
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_the_truth_is_inside_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(300):
        correct = np.random.default_rng(seed).random(60) < 0.8
        low, high = bootstrap_intervals(correct, np.zeros(60, int), np.arange(60), seed)["accuracy"]
        inside += low <= 0.8 <= high
    assert 0.90 <= inside / 300 <= 0.99


def test_related_images_widen_it() -> None:
    random = np.random.default_rng(0)
    of_group = random.random(20) < 0.7
    correct, targets = np.repeat(of_group, 5), np.zeros(100, int)
    apart = bootstrap_intervals(correct, targets, np.arange(100))["accuracy"]
    together = bootstrap_intervals(correct, targets, np.repeat(np.arange(20), 5))["accuracy"]
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_small_splits_have_intervals_in_fit_and_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("red", "green")):
        write_images(tmp_path / "photos" / name, 30, seed)
    run = tmp_path / "run"
    words = ["fit", "--data", str(tmp_path / "photos"), "--run_dir", str(run), *TINY_RUN]
    assert main([*words, "--epochs", "1"]) == 0
    line = re.search(r"^test .*", capsys.readouterr().out, re.M)[0]
    assert re.search(r"accuracy \d\.\d{4} \(\d\.\d{3} to \d\.\d{3}\), balanced", line)
    assert line.endswith("a class has fewer than 10 images")
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["test/accuracy_low"] <= scores["test/accuracy"] <= scores["test/accuracy_high"]
    assert main(["test", str(run)]) == 0
    printed = capsys.readouterr().out
    assert f"test/accuracy_low {scores['test/accuracy_low']:.4f}" in printed


def test_large_splits_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        for seed, name in enumerate(("red", "green")):
            write_images(tmp_path / "photos" / split / name, 10, seed)
    run = tmp_path / "run"
    words = ["fit", "--data", str(tmp_path / "photos"), "--run_dir", str(run), *TINY_RUN]
    assert main([*words, "--epochs", "1"]) == 0
    line = re.search(r"^test .*", capsys.readouterr().out, re.M)[0]
    assert "(" not in line
