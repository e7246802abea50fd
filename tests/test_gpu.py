"""On a CUDA device: training, prediction, explanation and export as on the CPU.

Run these alone with `pytest -m gpu`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import vision_attn
from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.runs.loaded_model import LoadedModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(scope="module")
def run(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained on the GPU."""
    place = tmp_path_factory.mktemp("gpu") / "run"
    words = ["fit", "--data", str(trained[1]), "--run_dir", str(place), *TINY_RUN]
    words += ["--epochs", "6", "--lr", "0.01", "--trainer.accelerator", "gpu"]
    assert main([*words, "--report", "true"]) == 0
    return place


def test_training_writes_a_whole_run(run: Path) -> None:
    assert (run / "report.html").is_file()
    assert (run / "results.csv").read_text().count("\n") == 7


def test_predictions_are_those_of_the_cpu(run: Path, trained: tuple[Path, Path]) -> None:
    model = vision_attn.load(run)
    assert model.device.type == "cuda"
    on_cpu = vision_attn.TrainedModel.from_run(run, device=torch.device("cpu"))
    images = trained[1] / "test"
    found, expected = model.predict(images), on_cpu.predict(images)
    assert len(found) == 8
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_evidence_adds_up(run: Path, trained: tuple[Path, Path]) -> None:
    explained = vision_attn.load(run).explain(trained[1] / "test", explainers=["evidence"])
    assert len(explained) == 8
    for one in explained:
        total = float(one.heatmaps["evidence"].values.double().sum()) + one.bias
        assert total == pytest.approx(one.logit, abs=1e-3)


def test_every_explainer_works(run: Path, trained: tuple[Path, Path]) -> None:
    names = ["attention", "contrast", "grad_cam", "integrated_gradients", "saliency", "occlusion"]
    (one, *_) = vision_attn.load(run).explain(trained[1] / "test", explainers=names)
    assert all(np.isfinite(heatmap.values.numpy()).all() for heatmap in one.heatmaps.values())


def test_evaluation_and_export(run: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(run), "--explainers", "evidence", "--metrics", "deletion"]
    assert main([*words, "--out", str(tmp_path / "scores")]) == 0
    assert main(["export", str(run), "--out", str(tmp_path / "model.onnx")]) == 0


def test_a_run_of_the_cpu_goes_on_on_the_gpu(trained: tuple[Path, Path]) -> None:
    assert LoadedModel.from_run(trained[0]).device.type == "cuda"
    words = ["fit", "--run_dir", str(trained[0]), "--resume", "--report", "false"]
    assert main([*words, "--trainer.max_epochs", "7", "--trainer.accelerator", "gpu"]) == 0
