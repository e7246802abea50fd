"""The benchmark of training: its sections run at small sizes, and say what they compare."""

import re

import pytest

from tests.scripts.test_scripts import call

SECTIONS = ["growth", "loaders", "overhead", "peak", "recipe"]
SMALL = ["--sizes", "32", "--images", "16", "--batch_size", "8", "--pairs", "2", "--counts", "30"]
RATIO = r"\d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)"


@pytest.fixture(scope="module")
def told() -> str:
    return call("bench.py", "--only", *SECTIONS, *SMALL)


def test_training_side_by_side(told: str) -> None:
    for against in ("plain Lightning", "timm's loader", "fastai"):
        for settings in ("its defaults", "its best"):
            assert f"| 32 px | {against} | {settings} | " in told
    assert re.search(rf"\| 32 px \| plain Lightning \| its best \| {RATIO} \|", told)
    assert re.search(rf"## overhead: .*\n\n.*\n.*\n\| 32 px \| {RATIO} \|", told)
    assert re.search(rf"an image of `cifar10_speed` takes {RATIO} times one of the bare loop", told)


def test_growth(told: str) -> None:
    assert all(f"| 30 | {how} | " in told for how in ("decoded", "into the cache", "mapped"))


def test_the_share_of_the_peak(told: str) -> None:
    shares = re.findall(r"^- [\w ()]+: (\d+)%$", told, flags=re.M)
    assert 190 <= sum(map(int, shares)) <= 210  # of a step in bf16, and of one in float32
    assert re.search(r"torch.bfloat16: peak \d+ GFLOP/s; a training step \d+ .*, \d+% of it", told)
