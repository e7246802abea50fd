"""Runs written before format 1 give the numbers that they gave then.

`before_format_1` holds two runs, a hub folder and their images. `expected.npz` was made by
the code of that time: what `explain` gave for the test images, for the runs themselves, for one
that went on to 5 epochs ("resumed") and for one that started from another ("tuned").
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import vision_attn
from vision_attn.cli.main import main

KEPT = Path(__file__).parent / "before_format_1"
EXPECTED = dict(np.load(KEPT / "expected.npz"))
SAME = {"rtol": 1e-4, "atol": 1e-5}  # processors round differently


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The kept runs, whose images were in /photos/images, with their images where they are."""
    shutil.copytree(KEPT, tmp_path / "kept")
    for config in tmp_path.glob("kept/*/config.yaml"):
        config.write_text(config.read_text().replace("/photos", str(tmp_path / "kept")))
    return tmp_path / "kept"


def check_explanations(run: Path, images: Path, name: str) -> None:
    """Compare everything that `explain` gives with what it gave."""
    found = vision_attn.load(run).explain(images, explainers=["evidence", "attention", "contrast"])
    probabilities = [list(one.prediction.probabilities.values()) for one in found]
    np.testing.assert_allclose(probabilities, EXPECTED[f"{name}/probabilities"], **SAME)
    np.testing.assert_allclose([one.logit for one in found], EXPECTED[f"{name}/logit"], **SAME)
    for kind in ("evidence", "attention", "contrast"):
        maps = np.stack([one.heatmaps[kind].values.numpy() for one in found])
        np.testing.assert_allclose(maps, EXPECTED[f"{name}/{kind}"], **SAME)


@pytest.mark.parametrize("name", ["neighbourhood", "global_local", "hub"])
def test_explanations(kept: Path, name: str) -> None:
    check_explanations(kept / name, kept / "images" / "test", name)


@pytest.mark.parametrize("name", ["neighbourhood", "global_local"])
def test_scores(kept: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(kept / name)]) == 0
    found = dict(line.split() for line in capsys.readouterr().out.splitlines() if "/" in line)
    before = json.loads((kept / name / "metrics.json").read_text())
    for key, value in found.items():
        assert float(value) == pytest.approx(before[key], abs=1e-4)


def test_going_on(kept: Path) -> None:
    run = kept / "neighbourhood"
    words = ["--trainer.max_epochs", "5", "--report", "false", "--overlays", "false"]
    assert main(["fit", "--run_dir", str(run), "--resume", *words]) == 0
    check_explanations(run, kept / "images" / "test", "resumed")
    assert '"format": 1' in (run / "model.json").read_text()


def test_starting_from_it(kept: Path, tmp_path: Path) -> None:
    words = ["fit", "--data", str(kept / "images"), "--init_from", str(kept / "global_local")]
    words += ["--run_dir", str(tmp_path / "tuned"), "--data.batch_size", "8"]
    words += ["--trainer.max_epochs", "1", "--trainer.precision", "32-true"]
    words += ["--trainer.accelerator", "cpu", "--report", "false", "--overlays", "false"]
    assert main(words) == 0
    check_explanations(tmp_path / "tuned", kept / "images" / "test", "tuned")


def test_exporting_it(kept: Path, tmp_path: Path) -> None:
    for name in ("neighbourhood", "global_local"):
        assert main(["export", str(kept / name), "--out", str(tmp_path / f"{name}.onnx")]) == 0
        assert main(["export", str(kept / name), "--format", "hub"]) == 0
        check_explanations(kept / name / "hub", kept / "images" / "test", name)


def changed(run: Path, **changes: object) -> Path:
    """A run whose `model.json` says something else."""
    content = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(content | changes))
    return run


def test_a_later_format_is_refused(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = changed(kept / "neighbourhood", format=2)
    assert main(["predict", str(run), str(kept / "images")]) == 2
    assert "has format 2, but this version reads formats up to 1" in capsys.readouterr().err
    changed(run, format="one")
    assert main(["predict", str(run), str(kept / "images")]) == 2
    assert "'format' must be a number, not 'one'" in capsys.readouterr().err


def test_an_unknown_key_is_refused(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = changed(kept / "neighbourhood", temperature=2.0)
    assert main(["predict", str(run), str(kept / "images")]) == 2
    assert "the key 'temperature', which this version does not know" in capsys.readouterr().err


def test_a_configuration_of_a_later_format(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = kept / "neighbourhood" / "config.yaml"
    config.write_text("format: 7\n" + config.read_text())
    assert main(["test", str(config.parent)]) == 2
    assert "config.yaml has format 7" in capsys.readouterr().err
