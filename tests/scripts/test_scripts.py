"""Benchmark and study scripts: they run at small sizes, resume, and print their results."""

import csv
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import write_images

SCRIPTS = Path(__file__).parents[2] / "scripts"


def call(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_bench_check(tmp_path: Path) -> None:
    output = call("bench_check.py", "--files", "400", "--side", "16", "--folder", str(tmp_path))
    assert "360 train, 40 val images of 20 classes" in output
    assert "files/s" in output


def test_study_pooling_resumes(tmp_path: Path) -> None:
    root, out = tmp_path / "images", tmp_path / "study.csv"
    boxes = ["file,label,xmin,ymin,xmax,ymax"]
    for split, count in (("train", 12), ("val", 6)):
        for color, name in enumerate(("red", "green")):
            write_images(root / split / name, count, color, size=(32, 32))
            boxes += [f"{split}/{name}/{k:03d}.png,{name},0,0,15,15" for k in range(count)]
    (root / "boxes.csv").write_text("\n".join(boxes) + "\n")
    words = ["--tiny_imagenet", str(root), "--out", str(out), "--epochs", "1", "--steps", "1"]
    call("study_pooling.py", *words, "--seeds", "1", "--poolings", "average")
    output = call("study_pooling.py", *words, "--seeds", "1", "--poolings", "average", "maximum")
    assert "pooling=maximum" in output
    assert "pooling=average" not in output  # that row was done before
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["pooling"] for row in rows] == ["average", "maximum"]
    assert float(rows[0]["accuracy"]) == float(rows[0]["uniform"])
    assert (
        float(rows[0]["attention"]) == 0.25
    )  # a uniform map points at a random place; the box is a quarter of the image
    table = call("study_pooling.py", "--out", str(out), "--table")
    assert "| `maximum` | 1 | 0 |" in table


def test_bench_explainers() -> None:
    words = ["--backbone", "resnet10t", "--batch_size", "2", "--pairs", "2", "--classes", "3"]
    table = call("bench_explainers.py", *words, "--explainers", "attention,contrast,grad_cam")
    assert "`python scripts/bench_explainers.py --backbone resnet10t" in table
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    rows = {name.strip(): cells for name, *cells in (line.strip("|").split("|") for line in lines)}
    one_by_one = "`grad_cam`, each class by itself through Captum"
    assert list(rows) == ["`attention`", "`contrast`", "`grad_cam`", one_by_one]
    assert rows["`attention`"][1].strip() == "the same map"
    assert float(rows[one_by_one][1].split()[0]) > 1  # three classes cost more than a forward pass


def test_damaged_images_are_refused_with_one_line_each() -> None:
    """A short run; `python scripts/fuzz_reader.py --images 10000` is the long run."""
    output = call("fuzz_reader.py", "--images", "300", "--seed", "1")
    read, refused = (
        int(re.search(rf"{key} +(\d+)", output)[1]) for key in ("read", "refused with one line")
    )
    assert read + refused == 300
    assert min(read, refused) > 60  # both outcomes are tested


def test_bench_predict() -> None:
    output = call("bench_predict.py", "--images", "40", "--backbones", "tiny", "--side", "32")
    name, images, *_ = output.splitlines()[-1].strip("| ").split(" | ")
    assert (name, images) == ("tiny", "40")
