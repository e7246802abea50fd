"""Runs of format 0 (before format 1) still give the same results.

`before_format_1` contains two runs, a hub folder and their images. `expected.npz` was written by
the code of that time: the output of `explain` on the test images, for the runs themselves, for a
run that was resumed up to 5 epochs ("resumed") and for one that was initialized from another
("tuned").
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import vision_attn
from vision_attn.cli.main import main
from vision_attn.training.fit_request import FitRequest, resumed_run

KEPT = Path(__file__).parent / "before_format_1"
EXPECTED = dict(np.load(KEPT / "expected.npz"))
SAME = {"rtol": 1e-4, "atol": 1e-5}  # processors round differently


@pytest.fixture
def old_runs(tmp_path: Path) -> Path:
    """A copy of the old runs, with the path of their images (/photos/images) corrected."""
    shutil.copytree(KEPT, tmp_path / "runs")
    for config in tmp_path.glob("runs/*/config.yaml"):
        config.write_text(config.read_text().replace("/photos", str(tmp_path / "runs")))
    return tmp_path / "runs"


def check_explanations(run: Path, images: Path, name: str) -> None:
    """Compare the output of `explain` with the recorded one."""
    found = vision_attn.load(run).explain(images, explainers=["evidence", "attention", "contrast"])
    probabilities = [list(one.prediction.probabilities.values()) for one in found]
    np.testing.assert_allclose(probabilities, EXPECTED[f"{name}/probabilities"], **SAME)
    np.testing.assert_allclose([one.logit for one in found], EXPECTED[f"{name}/logit"], **SAME)
    for kind in ("evidence", "attention", "contrast"):
        maps = np.stack([one.heatmaps[kind].values.numpy() for one in found])
        np.testing.assert_allclose(maps, EXPECTED[f"{name}/{kind}"], **SAME)


@pytest.mark.parametrize("name", ["neighbourhood", "global_local", "hub"])
def test_explanations_are_the_same(old_runs: Path, name: str) -> None:
    check_explanations(old_runs / name, old_runs / "images" / "test", name)


@pytest.mark.parametrize("name", ["neighbourhood", "global_local"])
def test_scores_are_the_same(old_runs: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(old_runs / name)]) == 0
    found = dict(line.split() for line in capsys.readouterr().out.splitlines() if "/" in line)
    before = json.loads((old_runs / name / "metrics.json").read_text())
    # Versions before this one recorded no intervals.
    new = {key for key in found if key.endswith(("_low", "_high"))}
    assert set(found) - new == {key for key in before if key.startswith("test/")}
    for key in set(found) - new:
        assert float(found[key]) == pytest.approx(before[key], abs=1e-4)


def test_an_old_run_can_be_resumed(old_runs: Path) -> None:
    run = old_runs / "neighbourhood"
    words = ["--trainer.max_epochs", "5", "--report", "false", "--overlays", "false"]
    assert main(["fit", "--run_dir", str(run), "--resume", *words]) == 0
    check_explanations(run, old_runs / "images" / "test", "resumed")
    assert '"format": 1' in (run / "model.json").read_text()


def test_a_run_can_be_initialized_from_an_old_one(old_runs: Path, tmp_path: Path) -> None:
    source = old_runs / "global_local"
    words = ["fit", "--data", str(old_runs / "images"), "--init_from", str(source)]
    words += ["--run_dir", str(tmp_path / "tuned"), "--data.batch_size", "8"]
    words += ["--trainer.max_epochs", "1", "--trainer.precision", "32-true"]
    words += ["--trainer.accelerator", "cpu", "--report", "false", "--overlays", "false"]
    assert main(words) == 0
    check_explanations(tmp_path / "tuned", old_runs / "images" / "test", "tuned")


def test_an_old_run_can_be_exported(old_runs: Path, tmp_path: Path) -> None:
    for name in ("neighbourhood", "global_local"):
        assert main(["export", str(old_runs / name), "--out", str(tmp_path / f"{name}.onnx")]) == 0
        assert main(["export", str(old_runs / name), "--format", "hub"]) == 0
        check_explanations(old_runs / name / "hub", old_runs / "images" / "test", name)


def changed(run: Path, **changes: object) -> Path:
    """Change keys in the `model.json` of a run."""
    content = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(content | changes))
    return run


def test_a_later_format_is_refused(old_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = changed(old_runs / "neighbourhood", format=2)
    assert main(["predict", str(run), str(old_runs / "images")]) == 2
    assert "has format 2, but this version reads formats up to 1" in capsys.readouterr().err
    changed(run, format="one")
    assert main(["predict", str(run), str(old_runs / "images")]) == 2
    assert "'format' must be a number, not 'one'" in capsys.readouterr().err


def test_an_unknown_key_is_refused(old_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = changed(old_runs / "neighbourhood", brightness=2.0)
    assert main(["predict", str(run), str(old_runs / "images")]) == 2
    assert "the key 'brightness', which this version does not know" in capsys.readouterr().err


def test_a_configuration_of_a_later_format_is_refused(
    old_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = old_runs / "neighbourhood" / "config.yaml"
    config.write_text("format: 7\n" + config.read_text())
    assert main(["test", str(config.parent)]) == 2
    assert "config.yaml has format 7" in capsys.readouterr().err


def test_an_old_run_is_resumed_on_the_images_that_it_was_split_into(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"].pop("group") is None
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    attempt = resumed_run(FitRequest(run_dir=run, resume=True))
    assert attempt.config["data"]["group"] == "none"
