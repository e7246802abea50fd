"""`evaluate` through the real door."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision_attn.cli import main

CHEAP = ["--explainers", "random,evidence,contrast,contrast:grad_cam", "--batch_size", "3"]


def test_a_table_a_file_and_a_chart(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained
    out = tmp_path / "out"
    assert main(["evaluate", str(run), *CHEAP, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "explained  8 of 8 images" in told
    assert "left out   energy: this data does not say where the objects are (--truth)" in told
    assert "left out   grid_pointing: grid_pointing of 3x3 images needs 9 classes" in told
    assert "contrast:grad_cam" in told
    content = json.loads((out / "evaluation.json").read_text())
    assert content["higher_is_better"] == {
        "insertion": True,
        "deletion": False,
        "single_deletion": True,
    }
    evidence = content["explainers"]["evidence"]
    assert evidence["gap"] < 1e-5
    assert evidence["images_per_second"] > 0
    assert evidence["scores"]["insertion"]["images"] == 8
    picture = np.asarray(Image.open(out / "evaluation.png").convert("RGB"))
    assert (picture != 255).any(2).mean() > 0.05
    assert main(["evaluate", str(run), *CHEAP, "--out", str(out)]) == 2
    assert "is not empty; name a new folder" in capsys.readouterr().err


def test_boxes(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = trained
    files = sorted((images / "test").rglob("*.png"))
    lines = [f"{file.resolve()},x,0,0,11,9" for file in files]
    boxes = tmp_path / "where.csv"
    boxes.write_text("\n".join(["file,label,xmin,ymin,xmax,ymax", *lines]))
    words = ["evaluate", str(run), *CHEAP, "--metrics", "energy,pointing_game", "--limit", "5"]
    out = tmp_path / "out"
    assert main([*words, "--truth", str(boxes), "--out", str(out)]) == 0
    scores = json.loads((out / "evaluation.json").read_text())["explainers"]["random"]["scores"]
    assert scores["energy"]["images"] == 5
    assert 0.15 < scores["energy"]["mean"] < 0.35  # a quarter of the image
    assert main([*words, "--truth", "nowhere.csv"]) == 2
    assert "--truth: there is no file or folder nowhere.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics", "enrgy"], "there is no explanation metric 'enrgy'. Did you mean 'energy'?"),
        (["--explainers", "evidence:3"], "evidence takes nothing after a colon, not ':3'"),
        (["--explainers", ","], "--explainers names none"),
        (["--metrics", "grid_pointing:1"], "at least 2 images along a side, not 1"),
        (["--limit", "0"], "--limit is at least 1, not 0"),
    ],
)
def test_mistakes(
    words: list[str],
    message: str,
    trained: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", str(trained[0]), *words]) == 2
    assert message in capsys.readouterr().err
