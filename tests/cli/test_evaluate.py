"""`vision-attn evaluate`: scores of explainers through the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import write_images
from vision_attn.cli.main import main
from vision_attn.explainers.center import Center

CHEAP = ["--explainers", "random,evidence,contrast,contrast:grad_cam", "--batch_size", "3"]


def test_it_prints_a_table_and_writes_json_and_a_chart(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained
    out = tmp_path / "out"
    assert main(["evaluate", str(run), *CHEAP, "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "explained  8 of 8 images" in output
    assert "left out   energy: this data has no ground truth of the objects (--truth)" in output
    assert "left out   grid_pointing: grid_pointing of 3x3 images needs 9 classes" in output
    assert "contrast:grad_cam" in output
    assert max(len(line) for line in output.splitlines() if "─" in line) <= 100
    content = json.loads((out / "evaluation.json").read_text())
    assert content["higher_is_better"] == {
        "insertion": True,
        "deletion": False,
        "single_deletion": True,
    }
    evidence = content["explainers"]["evidence"]
    assert evidence["completeness_error"] < 1e-5
    assert evidence["images_per_second"] > 0
    insertion = evidence["scores"]["insertion"]
    assert insertion["images"] == 8
    (line,) = [line for line in output.splitlines() if line.startswith("evidence ")][:1]
    figures = [f"{insertion[key]:.3f}" for key in ("mean", "median")]
    figures += [f"{quartile:.2f}" for quartile in insertion["quartiles"]]
    assert line.replace("✗", "").split()[1:5] == figures
    assert output.count("n = 8") == 3
    picture = np.asarray(Image.open(out / "evaluation.png").convert("RGB"))
    assert (picture != 255).any(2).mean() > 0.05
    assert main(["evaluate", str(run), *CHEAP, "--out", str(out)]) == 2
    assert "is not empty; name a new folder" in capsys.readouterr().err


def test_controls_are_always_scored(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(trained[0]), "--explainers", "evidence", "--metrics", "road"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert list(content["explainers"]) == ["random", "center", "evidence"]
    assert all(
        0 < result["scores"]["road"]["mean"] < 1 for result in content["explainers"].values()
    )


def test_energy_is_scored_on_boxes_of_correct_predictions(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image has its own box, and the model misclassifies the first image."""
    run, _ = trained
    images = tmp_path / "images"
    for color, name in enumerate(("red", "green")):
        write_images(images / "test" / name, 4, color, size=(32, 32))
    write_images(images / "test" / "green", 1, 0, size=(32, 32))  # a red image labeled green
    lines = ["file,label,xmin,ymin,xmax,ymax"]
    sides = {"green/000.png": 31}
    for name in ("green", "red"):
        for k in range(4):
            side = sides.get(f"{name}/00{k}.png", 3 + 4 * k)
            lines.append(f"images/test/{name}/00{k}.png,x,0,0,{side},{side}")
    boxes = tmp_path / "where.csv"
    boxes.write_text("\n".join(lines))
    words = ["evaluate", str(run), "--data", str(images), "--metrics", "energy"]
    words += ["--explainers", "center", "--truth", str(boxes)]
    out = tmp_path / "out"
    assert main([*words, "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "objects    known in 8 of 8 images" in output
    assert "explained  7 of 8 images" in output
    scores = json.loads((out / "evaluation.json").read_text())["explainers"]["center"]["scores"]
    heat = Center()(None, torch.rand(1, 3, 32, 32), torch.zeros(1))[0]
    shares = sorted(
        float(heat[: side + 1, : side + 1].sum() / heat.sum()) for side in (3, 7, 7, 11, 11, 15, 15)
    )
    assert scores["energy"]["mean"] == pytest.approx(sum(shares) / 7, rel=1e-4)
    assert scores["energy"]["median"] == pytest.approx(shares[3], rel=1e-4)
    assert main([*words[:-1], "nowhere.csv"]) == 2
    assert "--truth: there is no file or folder nowhere.csv" in capsys.readouterr().err
    boxes.write_text("\n".join(line.replace("images/", "photos/") for line in lines))
    assert main(words) == 2
    assert "no image has an object" in capsys.readouterr().err


def test_validation_images_are_used_if_there_are_no_test_images(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = trained
    shutil.copytree(images / "train", tmp_path / "images" / "train")
    for color, name in enumerate(("red", "green")):  # others than those that were trained on
        write_images(tmp_path / "images" / "val" / name, 4, color, size=(25, 21))
    words = ["evaluate", str(run), "--data", str(tmp_path / "images"), *CHEAP]
    assert main([*words, "--metrics", "deletion", "--out", str(tmp_path / "out")]) == 0
    assert "explained  8 of 8 images" in capsys.readouterr().out


def test_an_unreadable_image_is_left_out(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = trained
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images" / "test" / "red" / "000.png").write_bytes(b"not an image")
    words = ["evaluate", str(run), "--data", str(tmp_path / "images"), *CHEAP]
    assert main([*words, "--metrics", "deletion", "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr()
    assert "left out, unreadable" in output.err
    assert "explained  7 of 7 images" in output.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metrics", "enrgy"], "there is no explanation metric 'enrgy'. Did you mean 'energy'?"),
        (["--explainers", "evidence:3"], "evidence takes no argument, so ':3' cannot follow it"),
        (["--explainers", "contrast:1"], "contrast needs an explainer whose maps differ"),
        (["--explainers", "contrast:center"], "contrast needs an explainer whose maps differ"),
        (["--explainers", "evidence,evidence"], "two of evidence, evidence have the same name"),
        (["--metrics", "grid_pointing:²"], "there is no explanation metric '²'"),
        (["--explainers", ","], "--explainers: no name is given"),
        (["--metrics", "grid_pointing:1"], "at least 2 images along a side, not 1"),
        (["--limit", "0"], "--limit must be at least 1, not 0"),
    ],
)
def test_it_refuses_invalid_options(
    words: list[str],
    message: str,
    trained: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", str(trained[0]), *words]) == 2
    assert message in capsys.readouterr().err
