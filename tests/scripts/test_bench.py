"""The training benchmark: all sections run at small sizes and print their tables."""

import re

import pytest

from tests.scripts.test_scripts import call

SECTIONS = ["growth", "loaders", "overhead", "peak", "recipe"]
SMALL = ["--sizes", "32", "--images", "16", "--batch_size", "8", "--pairs", "2", "--counts", "30"]
RATIO = r"\d+\.\d+ \(\d+\.\d+ to \d+\.\d+\)"


@pytest.fixture(scope="module")
def output() -> str:
    return call("bench.py", "--only", *SECTIONS, *SMALL)


def test_training_is_compared_with_others(output: str) -> None:
    for against in ("plain Lightning", "timm's loader", "fastai"):
        for settings in ("its defaults", "its best"):
            assert f"| 32 px | {against} | {settings} | " in output
    assert re.search(rf"\| 32 px \| plain Lightning \| its best \| {RATIO} \|", output)
    assert re.search(rf"## overhead: .*\n\n.*\n.*\n\| 32 px \| {RATIO} \|", output)
    assert re.search(
        rf"an image takes `cifar10_speed` {RATIO} times as long as the bare loop", output
    )


def test_growth(output: str) -> None:
    assert all(f"| 30 | {how} | " in output for how in ("decoded", "into the cache", "mapped"))


def test_the_share_of_the_peak(output: str) -> None:
    shares = re.findall(r"^- [\w ()]+: (\d+)%$", output, flags=re.M)
    assert (
        190 <= sum(map(int, shares)) <= 210
    )  # 100 % of a step in bf16, and 100 % of one in float32
    assert re.search(
        r"torch.bfloat16: peak \d+ GFLOP/s; a training step \d+ .*, \d+% of it", output
    )
